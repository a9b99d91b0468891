package render

import (
	"maps"
	"slices"
	"strconv"

	"hearth/clientapi/userapi"
)

// DeviceKeys appends the members of an object that tell the state of a device's keys,
// each with its comma before. Clients take a number that is missing for one that did
// not change.
func DeviceKeys(dst []byte, d *userapi.DeviceSyncResponse) []byte {
	dst = append(dst, `,"device_one_time_keys_count":{`...)
	if _, ok := d.OneTimeKeys["signed_curve25519"]; !ok {
		dst = append(dst, `"signed_curve25519":0`...)
	}
	for _, algorithm := range slices.Sorted(maps.Keys(d.OneTimeKeys)) {
		dst = append(String(Comma(dst), algorithm), ':')
		dst = strconv.AppendInt(dst, d.OneTimeKeys[algorithm], 10)
	}
	dst = append(dst, `},"device_unused_fallback_key_types":`...)
	return Strings(dst, d.UnusedFallback)
}

// Strings appends an array of strings.
func Strings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for _, s := range list {
		dst = String(Comma(dst), s)
	}
	return append(dst, ']')
}
