package clientapi

import (
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

// SupportOptions say whom users and other servers may turn to.
type SupportOptions struct {
	AdminUserID, AdminEmail       string
	SecurityUserID, SecurityEmail string
	Page                          string // a URL
}

// support is GET /.well-known/matrix/support.
func (s *Server) support(*matrixhttp.Request) (any, error) {
	o := s.options.Support
	var contacts []map[string]string
	for _, c := range []struct{ role, user, email string }{
		{"m.role.admin", o.AdminUserID, o.AdminEmail}, {"m.role.security", o.SecurityUserID, o.SecurityEmail},
	} {
		contact := map[string]string{"role": c.role}
		if c.user != "" {
			contact["matrix_id"] = c.user
		}
		if c.email != "" {
			contact["email_address"] = c.email
		}
		if len(contact) > 1 {
			contacts = append(contacts, contact)
		}
	}
	answer := map[string]any{}
	if contacts != nil {
		answer["contacts"] = contacts
	}
	if o.Page != "" {
		answer["support_page"] = o.Page
	}
	if len(answer) == 0 {
		return nil, merr.NotFound("This server names no contacts")
	}
	return answer, nil
}
