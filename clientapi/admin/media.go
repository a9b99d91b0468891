package admin

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"hearth/clientapi/media"
	"hearth/internal/matrixhttp"
	"hearth/internal/merr"
	"hearth/roomserver/roomapi"
)

func mxc(r *matrixhttp.Request) media.MXC {
	return media.MXC{Origin: r.Param("serverName"), ID: r.Param("mediaId")}
}

func describeMedia(i *media.Listed) map[string]any {
	return map[string]any{
		"media_id": i.ID, "media_type": i.ContentType, "media_length": i.Size, "upload_name": orNull(i.FileName), "created_ts": i.Created,
		"last_access_ts": nil, "quarantined_by": orNull(i.QuarantinedBy), "safe_from_quarantine": i.Safe,
	}
}

// getMedia is GET /v1/media/{serverName}/{mediaId}.
func (s *Server) getMedia(r *matrixhttp.Request) (any, error) {
	i, err := s.Media.Look(r.Context(), mxc(r))
	if err != nil {
		return nil, err
	}
	out := describeMedia(i)
	out["media_origin"], out["user_id"], out["authenticated"], out["url_cache"] = i.Origin, orNull(i.UserID), true, nil
	return map[string]any{"media_info": out}, nil
}

// deleteMedia is DELETE /v1/media/{serverName}/{mediaId}: a file of this server.
func (s *Server) deleteMedia(r *matrixhttp.Request) (any, error) {
	x := mxc(r)
	if x.Origin != s.ServerName {
		return nil, merr.New(400, "M_UNKNOWN", "Can only delete local media")
	}
	return s.removeMedia(r, []media.MXC{x})
}

// removeMedia deletes files. 404 if one alone is not there.
func (s *Server) removeMedia(r *matrixhttp.Request, list []media.MXC) (any, error) {
	ids := make([]string, len(list))
	for i, x := range list {
		ids[i] = x.ID
	}
	if err := s.record(r, "media.delete", s.ServerName, "", ids, nil); err != nil {
		return nil, err
	}
	deleted := []string{}
	for _, x := range list {
		err := s.Media.Delete(r.Context(), x)
		if errors.Is(err, merr.NotFound("")) && len(list) > 1 {
			continue
		}
		if err != nil {
			return nil, err
		}
		deleted = append(deleted, x.ID)
	}
	return map[string]any{"deleted_media": deleted, "total": len(deleted)}, nil
}

// userMedia is GET /v1/users/{userId}/media.
func (s *Server) userMedia(r *matrixhttp.Request) (any, error) {
	page, total, from, err := s.pageOfUser(r)
	if err != nil {
		return nil, err
	}
	list := make([]map[string]any, len(page))
	for i := range page {
		list[i] = describeMedia(page[i])
	}
	out := map[string]any{"media": list, "total": total}
	if next := from + len(list); int64(next) < total && len(list) > 0 {
		out["next_token"] = next
	}
	return out, nil
}

func (s *Server) pageOfUser(r *matrixhttp.Request) (page []*media.Listed, total int64, from int, err error) {
	u, err := s.account(r)
	if err != nil {
		return nil, 0, 0, err
	}
	q := r.Query()
	order, otherwise := q.String("order_by"), "f"
	if order == "" {
		otherwise = "b" // the newest first
	} else if !media.IsOrder(order) {
		return nil, 0, 0, merr.InvalidParam("Unknown value for order_by")
	}
	from, limit := int(q.Int("from", 0, 0, 1<<40)), int(q.Int("limit", 100, 1, 1000))
	backwards := q.Enum("dir", otherwise, "f", "b") == "b"
	if err := q.Err(); err != nil {
		return nil, 0, 0, err
	}
	page, total, err = s.Media.OfUser(r.Context(), u.UserID, order, backwards, from, limit)
	return page, total, from, err
}

// deleteUserMedia is DELETE /v1/users/{userId}/media: a page of what GET lists.
func (s *Server) deleteUserMedia(r *matrixhttp.Request) (any, error) {
	page, _, _, err := s.pageOfUser(r)
	if err != nil {
		return nil, err
	}
	return s.removeMedia(r, urisOf(page))
}

func urisOf(page []*media.Listed) []media.MXC {
	list := make([]media.MXC, len(page))
	for i := range page {
		list[i] = page[i].MXC
	}
	return list
}

// quarantine is POST /v1/media/quarantine/{serverName}/{mediaId}, unquarantine the same with unquarantine.
func (s *Server) quarantine(r *matrixhttp.Request) (any, error)   { return s.setQuarantine(r, true) }
func (s *Server) unquarantine(r *matrixhttp.Request) (any, error) { return s.setQuarantine(r, false) }

func (s *Server) setQuarantine(r *matrixhttp.Request, on bool) (any, error) {
	x, by := mxc(r), ""
	action := "media.unquarantine"
	if on {
		action, by = "media.quarantine", r.Identity.UserID
	}
	if err := s.record(r, action, x.String(), "", nil, nil); err != nil {
		return nil, err
	}
	_, err := s.Media.PutAway(r.Context(), x, by, on)
	if on && errors.Is(err, merr.NotFound("")) {
		return nil, nil // nothing to hide
	}
	return nil, err
}

// quarantineUser is POST /v1/user/{userId}/media/quarantine.
func (s *Server) quarantineUser(r *matrixhttp.Request) (any, error) {
	u, err := s.account(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "media.quarantine_user", u.UserID, "", nil, nil); err != nil {
		return nil, err
	}
	n := 0
	for from := 0; ; from += mediaStep {
		page, _, err := s.Media.OfUser(r.Context(), u.UserID, "media_id", false, from, mediaStep)
		if err != nil {
			return nil, err
		}
		some, err := s.putAway(r, urisOf(page))
		if n += some; err != nil || len(page) < mediaStep {
			return map[string]int{"num_quarantined": n}, err
		}
	}
}

// mediaStep is how many files are looked at at once.
const mediaStep = 200

func (s *Server) putAway(r *matrixhttp.Request, list []media.MXC) (n int, err error) {
	for _, x := range list {
		some, err := s.Media.PutAway(r.Context(), x, r.Identity.UserID, true)
		if err != nil && !errors.Is(err, merr.NotFound("")) {
			return n, err
		}
		n += some
	}
	return n, nil
}

// quarantineRoom is POST /v1/room/{roomId}/media/quarantine.
func (s *Server) quarantineRoom(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "media.quarantine_room", id, "", nil, nil); err != nil {
		return nil, err
	}
	local, remote, err := s.mediaIn(r.Context(), id)
	if err != nil {
		return nil, err
	}
	n, err := s.putAway(r, append(local, remote...))
	return map[string]int{"num_quarantined": n}, err
}

// roomMedia is GET /v1/room/{roomId}/media.
func (s *Server) roomMedia(r *matrixhttp.Request) (any, error) {
	id, err := roomID(r)
	if err != nil {
		return nil, err
	}
	if err := s.record(r, "room.read_media", id, "", nil, nil); err != nil {
		return nil, err
	}
	local, remote, err := s.mediaIn(r.Context(), id)
	if err != nil {
		return nil, err
	}
	uris := func(list []media.MXC) []string {
		out := make([]string, len(list))
		for i, x := range list {
			out[i] = x.String()
		}
		return out
	}
	return map[string]any{"local": uris(local), "remote": uris(remote)}, nil
}

// mediaIn finds the files that the messages of a room name in the clear.
func (s *Server) mediaIn(ctx context.Context, room string) (local, remote []media.MXC, err error) {
	yes, seen := true, map[media.MXC]bool{}
	req := &roomapi.MessagesRequest{RoomID: room, UserID: roomapi.Everything, Backwards: true, Limit: 500, Filter: roomapi.EventFilter{ContainsURL: &yes}}
	for {
		page, err := roomapi.Messages.Do(ctx, s.Bus, req)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range page.Events {
			var content struct {
				URL  string `json:"url"`
				Info struct {
					Thumbnail string `json:"thumbnail_url"`
				} `json:"info"`
			}
			_ = json.Unmarshal(e.Content(), &content) // what has another shape names no file
			for _, uri := range []string{content.URL, content.Info.Thumbnail} {
				x, ok := parseMXC(uri)
				if !ok || seen[x] {
					continue
				}
				if seen[x] = true; x.Origin == s.ServerName {
					local = append(local, x)
				} else {
					remote = append(remote, x)
				}
			}
		}
		if page.End.IsZero() {
			return local, remote, nil
		}
		req.From = page.End
	}
}

func parseMXC(uri string) (x media.MXC, ok bool) {
	rest, ok := strings.CutPrefix(uri, "mxc://")
	if !ok {
		return x, false
	}
	x.Origin, x.ID, ok = strings.Cut(rest, "/")
	return x, ok && x.Origin != "" && x.ID != "" && !strings.Contains(x.ID, "/")
}

// protect is POST /v1/media/protect/{mediaId}, unprotect the same with unprotect.
func (s *Server) protect(r *matrixhttp.Request) (any, error)   { return s.setProtected(r, true) }
func (s *Server) unprotect(r *matrixhttp.Request) (any, error) { return s.setProtected(r, false) }

func (s *Server) setProtected(r *matrixhttp.Request, on bool) (any, error) {
	x := media.MXC{Origin: s.ServerName, ID: r.Param("mediaId")}
	if err := s.record(r, "media.protect", x.String(), "", nil, on); err != nil {
		return nil, err
	}
	return nil, s.Media.Protect(r.Context(), x, on)
}

// deleteOldMedia is POST /v1/media/delete and /v1/media/{serverName}/delete.
func (s *Server) deleteOldMedia(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	if !q.Has("before_ts") {
		return nil, merr.MissingParam("before_ts")
	}
	before, size := q.Int("before_ts", 0, 0, 1<<53), q.Int("size_gt", 0, 0, 1<<53)
	keep := !q.Has("keep_profiles") || q.Bool("keep_profiles")
	if err := q.Err(); err != nil {
		return nil, err
	}
	if before < maxSeconds {
		return nil, merr.InvalidParam("before_ts must be in milliseconds")
	}
	if origin := r.Param("serverName"); origin != "" && origin != s.ServerName {
		return nil, merr.New(400, "M_UNKNOWN", "Can only delete local media")
	}
	used := map[string]bool{}
	if keep {
		var err error
		if used, err = s.profileMedia(r); err != nil {
			return nil, err
		}
	}
	var gone []media.MXC
	err := s.eachOld(r, false, before, size+1, func(i *media.Listed) error {
		if !used[i.MXC.String()] {
			gone = append(gone, i.MXC)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(gone) == 1 {
		gone = append(gone, gone[0]) // it is no error if it has gone meanwhile
	}
	return s.removeMedia(r, gone)
}

// maxSeconds is the greatest number that stands for a time in seconds: in milliseconds it is a
// date of 1970.
const maxSeconds = 30_000_000_000

func (s *Server) eachOld(r *matrixhttp.Request, copies bool, before, size int64, f func(i *media.Listed) error) error {
	for last := (*media.Listed)(nil); ; {
		page, err := s.Media.Old(r.Context(), copies, before, size, last, mediaStep)
		if err != nil {
			return err
		}
		for _, last = range page {
			if err := f(last); err != nil {
				return err
			}
		}
		if len(page) < mediaStep {
			return nil
		}
	}
}

// purgeMediaCache is POST /v1/purge_media_cache: copies of other servers' files.
func (s *Server) purgeMediaCache(r *matrixhttp.Request) (any, error) {
	q := r.Query()
	if !q.Has("before_ts") {
		return nil, merr.MissingParam("before_ts")
	}
	before := q.Int("before_ts", 0, 0, 1<<53)
	if err := q.Err(); err != nil {
		return nil, err
	}
	if before < maxSeconds {
		return nil, merr.InvalidParam("before_ts must be in milliseconds")
	}
	if err := s.record(r, "media.purge_cache", strconv.FormatInt(before, 10), "", nil, nil); err != nil {
		return nil, err
	}
	n := 0
	err := s.eachOld(r, true, before, 0, func(i *media.Listed) error {
		err := s.Media.Delete(r.Context(), i.MXC)
		if errors.Is(err, merr.NotFound("")) {
			return nil
		}
		n++
		return err
	})
	return map[string]int{"deleted": n}, err
}
