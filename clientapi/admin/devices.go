package admin

import (
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

func describeDevice(userID string, d *userapi.Device) map[string]any {
	return map[string]any{
		"device_id": d.DeviceID, "display_name": orNull(d.DisplayName), "last_seen_ip": orNull(d.LastSeenIP),
		"last_seen_ts": orNull(d.LastSeenTS), "last_seen_user_agent": nil, "user_id": userID, "dehydrated": false,
	}
}

// listDevices is GET /v2/users/{userId}/devices.
func (s *Server) listDevices(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	list, err := userapi.Devices.Do(r.Context(), s.Bus, &userapi.UserRequest{UserID: u.UserID})
	if err != nil {
		return nil, err
	}
	devices := make([]map[string]any, len(list.Devices))
	for i := range list.Devices {
		devices[i] = describeDevice(u.UserID, &list.Devices[i])
	}
	return map[string]any{"devices": devices, "total": len(devices)}, nil
}

// createDevice is POST /v2/users/{userId}/devices: a device without an access token.
func (s *Server) createDevice(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		DeviceID    string `json:"device_id"`
		DisplayName string `json:"display_name"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.DeviceID == "" {
		return nil, merr.MissingParam("device_id")
	}
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "device.create", u.UserID+" "+req.DeviceID, "", nil, nil); err != nil {
		return nil, err
	}
	set := &userapi.SetDeviceRequest{UserID: u.UserID, DeviceID: req.DeviceID, Create: true}
	if req.DisplayName != "" {
		set.DisplayName = &req.DisplayName
	}
	if _, err := userapi.SetDevice.Do(r.Context(), s.Bus, set); err != nil {
		return nil, err
	}
	return matrixhttp.Response{Status: http.StatusCreated}, nil
}

// getDevice is GET /v2/users/{userId}/devices/{deviceId}.
func (s *Server) getDevice(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	d, err := userapi.GetDevice.Do(r.Context(), s.Bus, &userapi.DeviceRequest{UserID: u.UserID, DeviceID: r.Param("deviceId")})
	if err != nil {
		return nil, err
	}
	return describeDevice(u.UserID, d), nil
}

// putDevice is PUT /v2/users/{userId}/devices/{deviceId}.
func (s *Server) putDevice(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		DisplayName *string `json:"display_name"`
	}](r)
	if err != nil {
		return nil, err
	}
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	id := r.Param("deviceId")
	if err := s.record(r, "device.rename", u.UserID+" "+id, "", nil, req.DisplayName); err != nil {
		return nil, err
	}
	_, err = userapi.SetDevice.Do(r.Context(), s.Bus, &userapi.SetDeviceRequest{UserID: u.UserID, DeviceID: id, DisplayName: req.DisplayName})
	return nil, err
}

// deleteDevice is DELETE /v2/users/{userId}/devices/{deviceId}.
func (s *Server) deleteDevice(r *matrixhttp.Request) (any, error) {
	return s.endDevices(r, []string{r.Param("deviceId")})
}

// deleteDevices is POST /v2/users/{userId}/delete_devices.
func (s *Server) deleteDevices(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[struct {
		Devices []string `json:"devices"`
	}](r)
	if err != nil {
		return nil, err
	}
	if req.Devices == nil {
		return nil, merr.MissingParam("devices")
	}
	return s.endDevices(r, req.Devices)
}

func (s *Server) endDevices(r *matrixhttp.Request, ids []string) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	if u.Role != userapi.RoleNone && u.UserID != r.Identity.UserID && r.Identity.Role != userapi.RoleAdmin {
		return nil, merr.Forbidden("Only an administrator may do this to an account with a role")
	}
	if err := s.record(r, "device.delete", u.UserID, "", ids, nil); err != nil {
		return nil, err
	}
	gone, err := userapi.Logout.Do(r.Context(), s.Bus, &userapi.LogoutRequest{UserID: u.UserID, Devices: ids})
	if err != nil {
		return nil, err
	}
	s.Forget(gone)
	return nil, nil
}
