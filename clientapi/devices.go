package clientapi

import (
	"net/http"

	"hearth/clientapi/userapi"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
)

type deviceAnswer struct {
	DeviceID    string `json:"device_id"`
	DisplayName string `json:"display_name,omitempty"`
	LastSeenTS  int64  `json:"last_seen_ts,omitempty"`
	LastSeenIP  string `json:"last_seen_ip,omitempty"`
}

func describeDevice(d userapi.Device) deviceAnswer {
	return deviceAnswer{d.DeviceID, d.DisplayName, d.LastSeenTS, d.LastSeenIP}
}

// devices is GET /devices.
func (s *Server) devices(r *matrixhttp.Request) (any, error) {
	list, err := userapi.Devices.Do(r.Context(), s.bus, &userapi.UserRequest{UserID: r.Identity.UserID})
	if err != nil {
		return nil, err
	}
	answer := make([]deviceAnswer, 0, len(list.Devices))
	for _, d := range list.Devices {
		answer = append(answer, describeDevice(d))
	}
	return map[string]any{"devices": answer}, nil
}

// device is GET /devices/{deviceId}.
func (s *Server) device(r *matrixhttp.Request) (any, error) {
	d, err := userapi.GetDevice.Do(r.Context(), s.bus, &userapi.DeviceRequest{
		UserID: r.Identity.UserID, DeviceID: r.Param("deviceId"),
	})
	if err != nil {
		return nil, err
	}
	return describeDevice(*d), nil
}

type setDeviceRequest struct {
	DisplayName *string `json:"display_name"`
}

// setDevice is PUT /devices/{deviceId}.
func (s *Server) setDevice(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[setDeviceRequest](r)
	if err != nil {
		return nil, err
	}
	answer, err := userapi.SetDevice.Do(r.Context(), s.bus, &userapi.SetDeviceRequest{
		UserID: r.Identity.UserID, DeviceID: r.Param("deviceId"), DisplayName: req.DisplayName,
		Create: r.Identity.Service != "",
	})
	if err != nil || !answer.Created {
		return nil, err
	}
	return matrixhttp.Response{Status: http.StatusCreated}, nil
}

type deleteDevicesRequest struct {
	Auth    *authData `json:"auth"`
	Devices []string  `json:"devices"`
}

// deleteDevice is DELETE /devices/{deviceId}.
func (s *Server) deleteDevice(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[deleteDevicesRequest](r)
	if err != nil {
		return nil, err
	}
	return s.dropDevices(r, req.Auth, []string{r.Param("deviceId")})
}

// deleteDevices is POST /delete_devices.
func (s *Server) deleteDevices(r *matrixhttp.Request) (any, error) {
	req, err := matrixhttp.Decode[deleteDevicesRequest](r)
	if err != nil {
		return nil, err
	}
	if req.Devices == nil {
		return nil, merr.MissingParam("devices")
	}
	return s.dropDevices(r, req.Auth, req.Devices)
}

func (s *Server) dropDevices(r *matrixhttp.Request, auth *authData, devices []string) (any, error) {
	for _, d := range devices {
		if !plainText(d) {
			return nil, merr.InvalidParam("Invalid device id")
		}
	}
	if ask, err := s.confirm(r, auth); err != nil || ask != nil {
		return ask, err
	}
	return nil, s.endDevices(r, &userapi.LogoutRequest{UserID: r.Identity.UserID, Devices: devices})
}
