package account

import "hearth/clientapi/userapi"

// handlePeople registers the handlers for sessions, registration and identifiers.
func (s *Store) handlePeople() error {
	for _, register := range []func() error{
		on(s, userapi.Refresh, s.refresh),
		on(s, userapi.IssueLoginToken, s.issueLoginToken),
		on(s, userapi.LoginToken, s.loginToken),
		on(s, userapi.LoginAs, s.loginAs),
		on(s, userapi.IssueOpenIDToken, s.issueOpenIDToken),
		on(s, userapi.OpenIDUser, s.openIDUser),
		on(s, userapi.Seen, s.seen),
		on(s, userapi.CheckRegistrationToken, s.checkRegistrationToken),
		on(s, userapi.RegistrationTokens, s.registrationTokens),
		on(s, userapi.SetRegistrationToken, s.setRegistrationToken),
		on(s, userapi.DeleteRegistrationToken, s.deleteRegistrationToken),
		on(s, userapi.Approve, s.approve),
		on(s, userapi.Unapproved, s.unapproved),
		on(s, userapi.ThreePIDs, s.threePIDs),
		on(s, userapi.ThreePIDOwner, s.threePIDOwner),
		on(s, userapi.AddThreePID, s.addThreePID),
		on(s, userapi.DeleteThreePID, s.deleteThreePID),
		on(s, userapi.StartValidation, s.startValidation),
		on(s, userapi.Validate, s.validate),
		on(s, userapi.Validated, s.validated),
		on(s, userapi.Bindings, s.bindings),
		on(s, userapi.AddBinding, s.addBinding),
		on(s, userapi.DeleteBinding, s.deleteBinding),
		on(s, userapi.ExternalUser, s.externalUser),
		on(s, userapi.ExternalIDs, s.externalIDs),
		on(s, userapi.SearchUsers, s.searchUsers),
		on(s, userapi.GetSettings, s.settings),
		on(s, userapi.SetSetting, s.setSetting),
		on(s, userapi.SettingsByName, s.settingsByName),
		on(s, userapi.SetTag, s.setTag),
		on(s, userapi.NoticeRoom, s.noticeRoom),
		on(s, userapi.SetNoticeRoom, s.setNoticeRoom),
	} {
		if err := register(); err != nil {
			return err
		}
	}
	return nil
}
