package federationapi

import (
	"hearth/internal/matrixhttp"
)

// transaction is PUT /_matrix/federation/v1/send/{txnId} ("Transactions").
func (s *Server) transaction(r *matrixhttp.Request) (any, error) {
	body, err := r.Object()
	if err != nil {
		return nil, err
	}
	return s.inbound.Transaction(r.Context(), r.Identity.Server, r.Param("txnId"), body)
}
