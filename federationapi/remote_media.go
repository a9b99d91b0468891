package federationapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"hearth/federationapi/remoteapi"
	"hearth/federationapi/transport"
	"hearth/internal/merr"
	"hearth/internal/pdu"
)

const (
	mediaTime      = 10 * time.Minute
	mediaChunk     = 128 << 10
	maxMediaParts  = 256 << 10 // bytes of a multipart answer beside the file
	maxMediaWait   = 45 * time.Second
	maxContentType = 255
)

// media downloads a file or a thumbnail (server-server API, "Content Repository").
func (r *remote) media(ctx context.Context, req *remoteapi.MediaRequest, send func([]byte) error) error {
	if _, _, err := pdu.ParseServerName(req.ServerName); err != nil {
		return err
	}
	if req.ServerName == r.name || req.MediaID == "" || req.MaxBytes <= 0 {
		return merr.InvalidParam("It is not a file of another server")
	}
	ctx, cancel := context.WithTimeout(ctx, mediaTime)
	defer cancel()
	ask := mediaRequest(req)
	a, err := r.ask.Open(ctx, ask, false)
	if transport.Unrecognized(err) {
		return r.oldMedia(ctx, req, ask, send)
	}
	if err != nil {
		return mediaError(err)
	}
	defer a.Close()
	return mediaError(r.multipart(ctx, req, a, send))
}

// mediaRequest is the request to the endpoint for servers.
func mediaRequest(req *remoteapi.MediaRequest) transport.Request {
	wait := time.Duration(min(max(req.TimeoutMS, 0), maxMediaWait.Milliseconds())) * time.Millisecond
	query := url.Values{"timeout_ms": {strconv.FormatInt(wait.Milliseconds(), 10)}}
	kind := "download"
	if req.Width > 0 {
		kind = "thumbnail"
		query.Set("width", strconv.Itoa(req.Width))
		query.Set("height", strconv.Itoa(req.Height))
		if req.Method != "" {
			query.Set("method", req.Method)
		}
		query.Set("animated", strconv.FormatBool(req.Animated))
	}
	return transport.Request{
		Destination: req.ServerName, Method: http.MethodGet, Path: path(v1+"/media/"+kind, req.MediaID), Query: query,
		Timeout: mediaTime, MaxAnswer: req.MaxBytes + maxMediaParts,
	}
}

// oldMedia asks the endpoint that servers had before 1.11.
func (r *remote) oldMedia(ctx context.Context, req *remoteapi.MediaRequest, ask transport.Request, send func([]byte) error) error {
	ask.Path = path("/_matrix/media/v3/download", req.ServerName, req.MediaID)
	if req.Width > 0 {
		ask.Path = path("/_matrix/media/v3/thumbnail", req.ServerName, req.MediaID)
	}
	ask.Query.Set("allow_remote", "false")
	ask.Unsigned, ask.MaxAnswer = true, req.MaxBytes
	a, err := r.ask.Open(ctx, ask, false)
	if err != nil {
		return mediaError(err)
	}
	defer a.Close()
	h := mediaHeader(a.Header.Get("Content-Type"), a.Header.Get("Content-Disposition"), a.Size)
	return mediaError(sendMedia(h, a, req.MaxBytes, send))
}

// multipart reads the two parts of the answer; the second is the file or says where it is.
func (r *remote) multipart(ctx context.Context, req *remoteapi.MediaRequest, a *transport.Answer, send func([]byte) error) error {
	kind, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" || params["boundary"] == "" || len(params["boundary"]) > 200 {
		return transport.Malformed("the answer has the type %.80q", a.Header.Get("Content-Type"))
	}
	parts := multipart.NewReader(a, params["boundary"])
	about, err := parts.NextRawPart()
	if err != nil {
		return foreign(err)
	}
	info, err := io.ReadAll(io.LimitReader(about, 64<<10))
	if err != nil {
		return foreign(err)
	}
	if _, err := pdu.Canonical(info, false); err != nil {
		return transport.Malformed("the first part: %w", err)
	}
	file, err := parts.NextRawPart()
	if err != nil {
		return foreign(err)
	}
	if coding := file.Header.Get("Content-Transfer-Encoding"); coding != "" && !strings.EqualFold(coding, "binary") {
		return transport.Malformed("the file is encoded as %.40q", coding)
	}
	if location := file.Header.Get("Location"); location != "" {
		elsewhere, err := r.ask.Transport.Download(ctx, location, req.MaxBytes)
		if err != nil {
			return err
		}
		defer elsewhere.Close()
		h := mediaHeader(elsewhere.Header.Get("Content-Type"), elsewhere.Header.Get("Content-Disposition"), elsewhere.Size)
		return sendMedia(h, elsewhere, req.MaxBytes, send)
	}
	size, err := strconv.ParseInt(file.Header.Get("Content-Length"), 10, 64)
	if err != nil || size < 0 {
		size = -1
	}
	return sendMedia(mediaHeader(file.Header.Get("Content-Type"), file.Header.Get("Content-Disposition"), size), file, req.MaxBytes, send)
}

// mediaHeader reads what is said of a file; what cannot be right is left out.
func mediaHeader(contentType, disposition string, size int64) remoteapi.MediaHeader {
	h := remoteapi.MediaHeader{ContentType: "application/octet-stream", Size: size}
	if _, _, err := mime.ParseMediaType(contentType); err == nil && len(contentType) <= maxContentType {
		h.ContentType = contentType
	}
	_, params, err := mime.ParseMediaType(disposition)
	name := filepath.Base(filepath.FromSlash(strings.ReplaceAll(params["filename"], `\`, "/")))
	if err == nil && params["filename"] != "" && name != "." && name != "/" && name != ".." && len(name) <= pdu.MaxIDLength {
		h.FileName = strings.ToValidUTF8(name, "")
	}
	return h
}

// sendMedia hands a file on, up to a limit.
func sendMedia(h remoteapi.MediaHeader, file io.Reader, maxBytes int64, send func([]byte) error) error {
	if h.Size > maxBytes {
		return tooLarge()
	}
	head, err := json.Marshal(h)
	if err != nil {
		return merr.Internal(err)
	}
	if err := send(head); err != nil {
		return err
	}
	buf := make([]byte, mediaChunk)
	for got := int64(0); ; {
		n, err := fill(file, buf)
		if got += int64(n); got > maxBytes {
			return tooLarge()
		}
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && h.Size >= 0 && got != h.Size:
			return transport.Malformed("the file has another length than was said")
		case err == io.EOF:
			return nil
		case err != nil:
			return foreign(err)
		}
	}
}

// fill reads until buf is full or there is an error; io.EOF is a clean end.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var got int
		got, err = r.Read(buf[n:])
		n += got
	}
	return n, err
}

func tooLarge() error {
	return merr.New(http.StatusBadGateway, "M_TOO_LARGE", "The file is too large")
}

// mediaError gives errors the codes of the client-server API.
func mediaError(err error) error {
	var peer *transport.PeerError
	switch {
	case err == nil || !errors.As(err, &peer):
		return err
	case peer.Code == "M_NOT_YET_UPLOADED":
		e := merr.New(http.StatusGatewayTimeout, "M_NOT_YET_UPLOADED", "The file has not been uploaded yet").WithCause(err)
		e.Temporary = true
		return e
	case peer.Code == "M_TOO_LARGE":
		return merr.New(http.StatusBadGateway, "M_TOO_LARGE", "The file is too large").WithCause(err)
	case peer.Status == http.StatusNotFound:
		return merr.NotFound("The other server does not have the file").WithCause(err)
	}
	return err
}
