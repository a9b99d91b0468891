package remoteapi

import (
	"context"
	"encoding/json"
	"errors"

	"hearth/internal/bus"
	"hearth/internal/merr"
)

// ReadMedia downloads a file or thumbnail: head is called once, before each, which gets the
// file's bytes as they come; a chunk is valid during the call only. Errors: 404
// M_NOT_FOUND, 504 M_NOT_YET_UPLOADED, 502 M_TOO_LARGE if it has more than MaxBytes.
func ReadMedia(ctx context.Context, b *bus.Bus, req *MediaRequest, head func(*MediaHeader) error, each func(chunk []byte) error) error {
	begun := false
	err := Media.Do(ctx, b, req, func(chunk []byte) error {
		if begun {
			return each(chunk)
		}
		begun = true
		var h MediaHeader
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
