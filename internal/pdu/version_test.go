package pdu

import (
	"fmt"
	"testing"
)

// The table, read from the room version pages: the first version that has a
// feature, and the last.
func TestFeatureTable(t *testing.T) {
	features := []struct {
		name        string
		get         func(v *RoomVersion) bool
		first, last int
	}{
		{"event_id in the PDU", func(v *RoomVersion) bool { return v.EventFormat == 1 }, 1, 2},
		{"format 3", func(v *RoomVersion) bool { return v.EventFormat == 3 }, 3, 11},
		{"format 12", func(v *RoomVersion) bool { return v.EventFormat == 12 }, 12, 12},
		{"state resolution 1", func(v *RoomVersion) bool { return v.StateResolution == 1 }, 1, 1},
		{"state resolution 2", func(v *RoomVersion) bool { return v.StateResolution == 2 }, 2, 11},
		{"state resolution 2.1", func(v *RoomVersion) bool { return v.StateResolution == 21 }, 12, 12},
		{"redaction rule", func(v *RoomVersion) bool { return v.RedactionAuthRule }, 1, 2},
		{"URL-safe ids", func(v *RoomVersion) bool { return v.URLSafeEventIDs }, 4, 12},
		{"key validity", func(v *RoomVersion) bool { return v.EnforceKeyValidity }, 5, 12},
		{"strict JSON", func(v *RoomVersion) bool { return v.StrictJSON }, 6, 12},
		{"notification levels", func(v *RoomVersion) bool { return v.NotificationLevels }, 6, 12},
		{"aliases rule", func(v *RoomVersion) bool { return v.AliasAuthRule }, 1, 5},
		{"knock", func(v *RoomVersion) bool { return v.KnockAllowed }, 7, 12},
		{"restricted", func(v *RoomVersion) bool { return v.RestrictedJoins }, 8, 12},
		{"knock_restricted", func(v *RoomVersion) bool { return v.KnockRestricted }, 10, 12},
		{"integer power levels", func(v *RoomVersion) bool { return v.IntegerPowerLevels }, 10, 12},
		{"no creator", func(v *RoomVersion) bool { return v.CreatorIsSender }, 11, 12},
		{"redacts in content", func(v *RoomVersion) bool { return v.RedactsInContent }, 11, 12},
		{"domainless room ids", func(v *RoomVersion) bool { return v.DomainlessRoomIDs }, 12, 12},
		{"privileged creators", func(v *RoomVersion) bool { return v.PrivilegedCreators }, 12, 12},
	}
	if len(Versions()) != 12 {
		t.Fatalf("%d versions", len(Versions()))
	}
	for i, v := range Versions() {
		n := i + 1
		if got, ok := Version(fmt.Sprint(n)); !ok || got != v || v.ID != fmt.Sprint(n) {
			t.Errorf("Version(%d) = %+v", n, got)
		}
		for _, f := range features {
			if f.get(v) != (n >= f.first && n <= f.last) {
				t.Errorf("v%d %s: %v", n, f.name, f.get(v))
			}
		}
	}
	for _, id := range []string{"", "0", "13", "01", "1 ", "org.matrix.msc"} {
		if v, ok := Version(id); ok {
			t.Errorf("Version(%q) = %+v", id, v)
		}
	}
}

// The example ids on the pages of v3 and v4 show which alphabet each uses.
func TestEventIDAlphabet(t *testing.T) {
	var hash [32]byte
	for i := range hash {
		hash[i] = 0xFB
	}
	v3, _ := Version("3")
	v4, _ := Version("4")
	if got := v3.eventID(hash); got != "$+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s" {
		t.Error(got)
	}
	if got := v4.eventID(hash); got != "$-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s" {
		t.Error(got)
	}
}
