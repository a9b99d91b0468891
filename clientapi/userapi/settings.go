package userapi

import (
	"encoding/json"

	"hearth/internal/bus"
)

// What administrators set for accounts.
var (
	// GetSettings returns the settings of an account by name, 404 M_NOT_FOUND if there is none.
	GetSettings = bus.Call[UserRequest, Settings]{Subject: "userstore.settings"}
	// SetSetting changes one; 404 as above.
	SetSetting = bus.Call[SetSettingRequest, Empty]{Subject: "userstore.settings.set"}
	// SettingsByName lists the accounts that have a setting, by user id.
	SettingsByName = bus.Call[SettingsByNameRequest, Settings]{Subject: "userstore.settings.by_name"}
)

// SettingTopic tells that a setting was changed. It may be lost.
var SettingTopic = bus.Topic[SetSettingRequest]{Subject: "userstore.settings.changed"}

// Names of settings.
const (
	// SettingRateLimit is a RateLimit.
	SettingRateLimit = "ratelimit"
	// SettingFeatures is an object from names of experimental features to whether they are on.
	SettingFeatures = "experimental_features"
	// SettingValidity is until when an account is valid, in milliseconds.
	SettingValidity = "account_validity"
	// SettingCrossSigning is until when cross-signing keys can be replaced without a password, in milliseconds.
	SettingCrossSigning = "cross_signing_without_uia"
)

// Settings are values by name, or by user id.
type Settings struct {
	Values map[string]json.RawMessage
}

// SetSettingRequest sets a value; null or nothing takes it away.
type SetSettingRequest struct {
	UserID, Name string
	Value        json.RawMessage `json:",omitempty"`
}

// SettingsByNameRequest names a setting. At most 10,000 accounts are listed.
type SettingsByNameRequest struct{ Name string }

// RateLimit replaces the limits of a user. MessagesPerSecond 0 stands for no limit.
type RateLimit struct {
	MessagesPerSecond int64 `json:"messages_per_second"`
	BurstCount        int64 `json:"burst_count"`
}
