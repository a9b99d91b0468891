package clientapi

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"hearth/clientapi/sso"
	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

const (
	// maxSSOName bounds a user name that a provider tells, in bytes.
	maxSSOName = 100
	// numberedNames is how many names with a number are tried if a name is taken, and
	// randomNames how many with random letters after that.
	numberedNames, randomNames = 9, 3
)

// ssoUser returns the account of a person, and makes one for a newcomer.
func (s *Server) ssoUser(r *matrixhttp.Request, person *sso.Person) (string, error) {
	id := userapi.ExternalID{Provider: person.Provider.ID, Subject: person.Subject}
	known, err := userapi.ExternalUser.Do(r.Context(), s.bus, &id)
	if errors.Is(err, merr.NotFound("")) {
		return s.ssoNewcomer(r, person, id)
	}
	if err != nil {
		return "", err
	}
	user, err := userapi.GetUser.Do(r.Context(), s.bus, known)
	if err != nil {
		return "", err
	}
	if !user.Approved {
		return "", waitsForApproval()
	}
	return known.UserID, nil
}

func waitsForApproval() error {
	return merr.Forbidden("Your account has to be approved by an administrator of the server before it can be used")
}

// ssoNewcomer makes an account. A name that is taken gets a number: nobody comes into
// the account of another because a provider says that the names are the same.
func (s *Server) ssoNewcomer(r *matrixhttp.Request, person *sso.Person, id userapi.ExternalID) (string, error) {
	if !person.Provider.Newcomers {
		return "", merr.Forbidden("You have no account on this server")
	}
	if err := s.limits.register.take(address(r)); err != nil {
		return "", err
	}
	name := mapName(person.Name)
	if name == "" || len(name) > maxSSOName {
		return "", merr.Forbidden("%s does not tell a user name that can be one here", person.Provider.Name)
	}
	waits := s.options.RegistrationMode == "approval"
	for i := range 1 + numberedNames + randomNames {
		candidate := name
		switch {
		case i > numberedNames:
			candidate = name + "-" + strings.ToLower(rand.Text()[:6])
		case i > 0:
			candidate = name + strconv.Itoa(i+1)
		}
		made, err := s.ssoRegister(r, &userapi.RegisterRequest{
			Username: candidate, DisplayName: strings.TrimSpace(person.DisplayName), InhibitLogin: true, Unapproved: waits, External: &id,
		})
		if err == nil && waits {
			return "", waitsForApproval()
		}
		if made != "" || err != nil {
			return made, err
		}
	}
	return "", merr.New(409, "M_USER_IN_USE", "Too many people have the same user name")
}

// ssoRegister makes an account; no user and no error mean that the name is taken.
func (s *Server) ssoRegister(r *matrixhttp.Request, req *userapi.RegisterRequest) (string, error) {
	if err := s.checkUsername(r, req.Username); err != nil {
		return "", unlessTaken(err)
	}
	made, err := userapi.Register.Do(r.Context(), s.bus, req)
	if err == nil {
		return made.UserID, nil
	}
	if err := unlessTaken(err); err != nil {
		return "", err
	}
	// Perhaps it was the same person in another window.
	known, err := userapi.ExternalUser.Do(r.Context(), s.bus, req.External)
	if errors.Is(err, merr.NotFound("")) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return known.UserID, nil
}

func unlessTaken(err error) error {
	var e *merr.Error
	if errors.As(err, &e) && (e.Code == "M_USER_IN_USE" || e.Code == "M_EXCLUSIVE") {
		return nil
	}
	return err
}

// mapName makes a localpart of a name (appendices, "Mapping from other character sets").
// Of an e-mail address it is what stands before the @.
func mapName(name string) string {
	name, _, _ = strings.Cut(strings.TrimSpace(name), "@")
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case c >= 'A' && c <= 'Z':
			b.WriteByte(c + 'a' - 'A')
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', strings.IndexByte("._-/+", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	return b.String()
}
