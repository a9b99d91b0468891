package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time in whole seconds, written as 30s, 15m, 1h or 7d.
type Duration time.Duration

const durationForm = "a time such as 30s, 15m, 1h or 7d, or 0"

var durationUnits = []struct {
	suffix string
	unit   time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

func parseDuration(s string) (Duration, error) {
	if s == "0" {
		return 0, nil
	}
	for _, u := range durationUnits {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 63)
		if err == nil && int64(n) <= math.MaxInt64/int64(u.unit) {
			return Duration(time.Duration(n) * u.unit), nil
		}
	}
	return 0, fmt.Errorf("must be %s", durationForm)
}

// String returns the time in the greatest unit that divides it.
func (d Duration) String() string {
	for _, u := range durationUnits {
		if d > 0 && time.Duration(d)%u.unit == 0 {
			return strconv.FormatInt(int64(time.Duration(d)/u.unit), 10) + u.suffix
		}
	}
	return "0"
}
