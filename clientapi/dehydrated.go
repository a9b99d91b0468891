package clientapi

import (
	"encoding/json"
	"strconv"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

type putDehydratedRequest struct {
	DeviceKeys   json.RawMessage            `json:"device_keys"`
	OneTimeKeys  map[string]json.RawMessage `json:"one_time_keys"`
	FallbackKeys map[string]json.RawMessage `json:"fallback_keys"`
	DeviceID     string                     `json:"device_id"`
	Data         json.RawMessage            `json:"device_data"`
	DisplayName  string                     `json:"initial_device_display_name"`
}

// putDehydrated is PUT /dehydrated_device (MSC3814).
func (s *Server) putDehydrated(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[putDehydratedRequest](r)
	if err != nil {
		return nil, err
	}
	if req.DeviceID == "" {
		return nil, merr.MissingParam("device_id")
	}
	_, err = userapi.PutDehydrated.Do(r.Context(), s.bus, &userapi.PutDehydratedRequest{
		UploadKeysRequest: userapi.UploadKeysRequest{
			UserID: r.Identity.UserID, DeviceID: req.DeviceID,
			DeviceKeys: req.DeviceKeys, OneTimeKeys: req.OneTimeKeys, FallbackKeys: req.FallbackKeys,
		},
		DisplayName: req.DisplayName, Data: req.Data,
	})
	if err != nil {
		return nil, err
	}
	return map[string]string{"device_id": req.DeviceID}, nil
}

// dehydrated is GET /dehydrated_device.
func (s *Server) dehydrated(r *matrixhttp.Request) (any, error) {
	answer, err := userapi.GetDehydrated.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: r.Identity.UserID})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// deleteDehydrated is DELETE /dehydrated_device.
func (s *Server) deleteDehydrated(r *matrixhttp.Request) (any, error) {
	answer, err := userapi.DeleteDehydrated.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: r.Identity.UserID})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

type dehydratedEventsRequest struct {
	NextBatch string `json:"next_batch"`
}

// dehydratedEvents is GET /dehydrated_device/{deviceId}/events: next_batch is there
// only if there is more. Nothing is deleted.
func (s *Server) dehydratedEvents(r *matrixhttp.Request) (any, error) {
	query := r.Query()
	from := query.String("from")
	if err := query.Err(); err != nil {
		return nil, err
	}
	return s.readDehydrated(r, from, false)
}

// postDehydratedEvents is the same in the form of an earlier state of the proposal,
// which clients still use: they go on until there are no events.
func (s *Server) postDehydratedEvents(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[dehydratedEventsRequest](r)
	if err != nil {
		return nil, err
	}
	return s.readDehydrated(r, req.NextBatch, true)
}

func (s *Server) readDehydrated(r *matrixhttp.Request, from string, always bool) (any, error) {
	after := int64(0)
	if from != "" {
		var err error
		if after, err = strconv.ParseInt(from, 10, 64); err != nil || after < 0 {
			return nil, merr.InvalidParam("Invalid batch")
		}
	}
	device, err := userapi.GetDehydrated.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: r.Identity.UserID})
	if err != nil {
		return nil, err
	}
	if device.DeviceID != r.Param("deviceId") {
		return nil, merr.Forbidden("This is not the dehydrated device")
	}
	answer, err := userapi.DeviceSync.Do(r.Context(), s.bus, &userapi.DeviceSyncRequest{
		UserID: r.Identity.UserID, DeviceID: device.DeviceID, After: after,
	})
	if err != nil {
		return nil, err
	}
	body := []byte(`{"events":[`)
	for i, m := range answer.Messages {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, m...)
	}
	body = append(body, ']')
	if answer.More || always {
		body = pdu.AppendString(append(body, `,"next_batch":`...), strconv.FormatInt(answer.Last, 10))
	}
	return matrixhttp.Raw(append(body, '}')), nil
}
