package config

import "time"

// Retention says how long events are kept; a lifetime of 0 is without end.
type Retention struct {
	PurgeInterval      Duration `yaml:"purge_interval"`
	OverwriteInterval  Duration `yaml:"overwrite_interval"`
	RoomPolicies       bool     `yaml:"room_policies"`
	DefaultMaxLifetime Duration `yaml:"default_max_lifetime"`
	AllowedLifetimeMin Duration `yaml:"allowed_lifetime_min"`
	AllowedLifetimeMax Duration `yaml:"allowed_lifetime_max"`
	Direct             Duration `yaml:"direct"`
	Private            Duration `yaml:"private"`
	Public             Duration `yaml:"public"`
	Encrypted          Duration `yaml:"encrypted"`
	Forgotten          Duration `yaml:"forgotten"`
}

func defaultRetention() Retention {
	return Retention{PurgeInterval: Duration(10 * time.Minute), OverwriteInterval: Duration(time.Hour), RoomPolicies: true}
}

func (l *loader) checkRetention() {
	r := &l.config.Retention
	if r.AllowedLifetimeMax > 0 && r.AllowedLifetimeMin > r.AllowedLifetimeMax {
		l.invalid("retention.allowed_lifetime_min", "must not be greater than allowed_lifetime_max")
	}
	if r.PurgeInterval > 0 && r.OverwriteInterval > 0 && r.OverwriteInterval < r.PurgeInterval {
		l.invalid("retention.overwrite_interval", "must not be shorter than purge_interval")
	}
}
