package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Antispam is a webhook that is asked before something is done.
type Antispam struct {
	URL           string   `yaml:"url"`
	Authorization string   `yaml:"authorization" secret:"true"`
	Callbacks     []string `yaml:"callbacks"`
	Async         []string `yaml:"async"`
	FailOpen      []string `yaml:"fail_open"`
	Timeout       Duration `yaml:"timeout"`
	Ping          bool     `yaml:"ping"`
}

func (a *Antispam) defaults() {
	a.Callbacks, a.Async, a.FailOpen = []string{}, []string{}, []string{"check_event_for_spam"}
	a.Timeout = Duration(5 * time.Second)
}

// Blocking says what it means to ignore somebody.
type Blocking struct {
	TwoWay bool `yaml:"two_way"`
}

// Probation is what new accounts may not do yet.
type Probation struct {
	For     Duration `yaml:"for"` // 0: there is none
	Invites int      `yaml:"invites"`
	Joins   int      `yaml:"joins"`
	Rooms   int      `yaml:"rooms"`
	Media   bool     `yaml:"media"`
	Links   bool     `yaml:"links"`
}

// callbacks are what webhooks can be asked.
var callbacks = []string{
	"user_may_join_room", "accept_make_join", "user_may_invite", "federated_user_may_invite", "user_may_send_3pid_invite", "user_may_create_room",
	"user_may_create_room_alias", "user_may_publish_room", "check_username_for_spam", "check_login_for_spam", "check_event_for_spam",
}

func (l *loader) checkPolicy() {
	for i, a := range l.config.Antispam {
		prefix := fmt.Sprintf("antispam[%d].", i)
		if u, err := url.Parse(a.URL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			l.invalid(prefix+"url", "must be an address such as http://localhost:8080/api/1/spam_check, not %q", a.URL)
		}
		if d := time.Duration(a.Timeout); d < time.Second || d > time.Minute {
			l.invalid(prefix+"timeout", "must be from 1s to 1m")
		}
		for key, list := range map[string][]string{"callbacks": a.Callbacks, "async": a.Async, "fail_open": a.FailOpen} {
			for _, name := range list {
				if !slices.Contains(callbacks, name) {
					l.invalid(prefix+key, "%q is no callback; there are %s", name, strings.Join(callbacks, ", "))
				}
			}
		}
	}
	p := l.config.Probation
	if p.Invites < 0 || p.Joins < 0 || p.Rooms < 0 {
		l.invalid("probation.invites", "and joins and rooms must not be negative")
	}
}
