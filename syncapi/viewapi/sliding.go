package viewapi

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"hearth/internal/bus"
	"hearth/internal/merr"
)

// Sliding answers one request of simplified sliding sync (MSC4186) as a stream of
// bytes that together are the JSON body. What is said of Sync holds for it too. A
// position that is unknown, or was given to another user or device, is 400
// M_UNKNOWN_POS, and the client starts anew.
//
// A connection lives in the memory of one process. SlidingFor sends a request to
// the process that gave out the position.
var Sliding = bus.Stream[SlidingRequest]{Subject: "syncapi.sliding", Limit: 20_000}

// SlidingRequest is a request of an authenticated device. Body is the request body,
// an object; what Pos, TimeoutMS and SetPresence say does not count there.
type SlidingRequest struct {
	UserID, DeviceID string
	Pos              string
	TimeoutMS        int64
	SetPresence      string
	// Stable says that the format is that of the accepted proposal at
	// /_matrix/client/v4/sync, not the one of its unstable prefix.
	Stable bool
	Body   json.RawMessage
}

// MaxSlidingBody is the size in bytes of a request body. It must pass over the bus.
const MaxSlidingBody = 512 << 10

// Slots is the number of processes that are told apart; further ones share.
const Slots = 256

// SlidingAt is Sliding of the process with a slot, below Slots.
func SlidingAt(slot uint8) bus.Stream[SlidingRequest] {
	s := Sliding
	const digits = "0123456789abcdef"
	s.Subject += "." + string([]byte{digits[slot>>4], digits[slot&15]})
	return s
}

// Pos is a position of a sliding sync.
type Pos struct {
	Slot uint8 // of the process
	Conn uint64
	Seq  uint64 // of the answer on the connection
	// Token is the place up to which the answer is complete.
	Token Token
}

// String returns the position as clients see it.
func (p Pos) String() string {
	return "p" + strconv.FormatUint(uint64(p.Slot), 36) + "." + strconv.FormatUint(p.Conn, 36) + "." +
		strconv.FormatUint(p.Seq, 36) + "." + p.Token.String()
}

// ParsePos reads what String wrote: 400 M_UNKNOWN_POS for anything else.
func ParsePos(s string) (Pos, error) {
	unknown := UnknownPos()
	rest, ok := strings.CutPrefix(s, "p")
	parts := strings.SplitN(rest, ".", 4)
	if !ok || len(parts) != 4 || len(s) > 256 {
		return Pos{}, unknown
	}
	var n [3]uint64
	for i, bits := range []int{8, 64, 64} {
		var err error
		if n[i], err = strconv.ParseUint(parts[i], 36, bits); err != nil {
			return Pos{}, unknown
		}
	}
	token, err := ParseToken(parts[3])
	if err != nil {
		return Pos{}, unknown
	}
	return Pos{Slot: uint8(n[0]), Conn: n[1], Seq: n[2], Token: token}, nil
}

// UnknownPos is the error that makes a client start anew.
func UnknownPos() *merr.Error {
	return merr.New(400, "M_UNKNOWN_POS", "The position is not known, start a new connection")
}

// DoSliding makes a Sliding request of the process that has the connection. When
// that is gone, another one says that the position is unknown.
func DoSliding(ctx context.Context, b *bus.Bus, req *SlidingRequest, recv func(chunk []byte) error) error {
	if req.Pos == "" {
		return Sliding.Do(ctx, b, req, recv)
	}
	pos, err := ParsePos(req.Pos)
	if err != nil {
		return err
	}
	begun := false
	err = SlidingAt(pos.Slot).Do(ctx, b, req, func(chunk []byte) error {
		begun = true
		return recv(chunk)
	})
	if !begun && ctx.Err() == nil && errors.Is(err, merr.Unavailable("")) {
		return Sliding.Do(ctx, b, req, recv)
	}
	return err
}
