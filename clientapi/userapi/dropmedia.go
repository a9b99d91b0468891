package userapi

import "hearth/internal/bus"

// DropMedia deletes files of this server whose last event is gone, each if the user has uploaded it, it is not in
// quarantine and not part of the user's profile. To repeat it does no harm.
var DropMedia = bus.Call[DropMediaRequest, Empty]{Subject: "media.drop"}

// DropMediaRequest names files.
type DropMediaRequest struct{ Files []DroppedFile }

// DroppedFile is an mxc:// URI and who has sent the event.
type DroppedFile struct{ URI, UserID string }
