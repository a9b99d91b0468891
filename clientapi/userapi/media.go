package userapi

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"hearth/internal/bus"
	"hearth/internal/merr"
)

// LocalMedia streams a file of this server, or a thumbnail of it, for another server; read
// it with ReadLocalMedia. Errors: 404 M_NOT_FOUND, 504 M_NOT_YET_UPLOADED, and those of
// thumbnails (server-server API, "Content Repository").
var LocalMedia = bus.Stream[LocalMediaRequest]{Subject: "media.local", Timeout: 10 * time.Minute}

// LocalMediaRequest names a file. Width > 0 asks for a thumbnail. WaitMS is how long to
// wait for an upload that has not come yet, in milliseconds.
type LocalMediaRequest struct {
	MediaID        string
	Width, Height  int
	Crop, Animated bool
	WaitMS         int64
}

// LocalMediaHeader is the first chunk of the answer, as JSON; the file's bytes follow.
type LocalMediaHeader struct {
	ContentType, Disposition string
	Size                     int64 // bytes
}

// ReadLocalMedia reads a file: head is called once, before each. A chunk is valid during the
// call only.
func ReadLocalMedia(ctx context.Context, b *bus.Bus, req *LocalMediaRequest, head func(*LocalMediaHeader) error, each func(chunk []byte) error) error {
	begun := false
	err := LocalMedia.Do(ctx, b, req, func(chunk []byte) error {
		if begun {
			return each(chunk)
		}
		begun = true
		var h LocalMediaHeader
		if err := json.Unmarshal(chunk, &h); err != nil {
			return merr.Internal(err)
		}
		return head(&h)
	})
	if err == nil && !begun {
		err = merr.Internal(errors.New("an answer without a header"))
	}
	return err
}
