package media

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"time"

	"hearth/clientapi/media/blob"
	"hearth/clientapi/media/thumb"
	"hearth/clientapi/userapi"
	"hearth/federationapi/remoteapi"
	"hearth/internal/bus"
)

// chunkSize is how much of a file goes over the bus at once.
const chunkSize = 128 << 10

// local gives a file of ours to another server.
func (s *Server) local(ctx context.Context, req *userapi.LocalMediaRequest, send func([]byte) error) error {
	f, err := s.localFile(ctx, req)
	if err != nil {
		return err
	}
	content, err := s.files.Open(f.hash)
	if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
		return notFound()
	}
	if err != nil {
		return err
	}
	defer content.Close()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	head, err := json.Marshal(userapi.LocalMediaHeader{ContentType: f.contentType, Disposition: f.disposition, Size: info.Size()})
	if err != nil {
		return err
	}
	if err := send(head); err != nil {
		return err
	}
	buf := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(content, buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// localFile finds what a server asks for. Copies of other servers' files are theirs to give.
func (s *Server) localFile(ctx context.Context, req *userapi.LocalMediaRequest) (file, error) {
	x, err := newTarget(s.options.ServerName, req.MediaID)
	if err != nil {
		return file{}, err
	}
	item, err := s.db.Get(ctx, x, s.now().UnixMilli())
	if err == nil && item.SHA256 == nil {
		item, err = s.await(ctx, x, time.Duration(max(0, min(req.WaitMS, maxWait)))*time.Millisecond)
	}
	if err != nil {
		return file{}, err
	}
	if item.Quarantined {
		return file{}, notFound()
	}
	if req.Width <= 0 {
		kind, shown := inline(item.ContentType)
		return file{blob.Hash(item.SHA256), kind, disposition(shown, item.FileName), item.Created}, nil
	}
	f, err := s.small(ctx, item, thumb.Round(req.Width, max(req.Height, 1), req.Crop, req.Animated))
	if err != nil {
		return file{}, s.thumbnailError(err, item)
	}
	return f, nil
}

// FromServers fetches files of other servers over the bus.
func FromServers(b *bus.Bus, limit int64) Remote {
	if limit == 0 {
		limit = defaultUpload
	}
	return &servers{b, limit}
}

type servers struct {
	bus   *bus.Bus
	limit int64 // bytes
}

// Download implements Remote.
func (s *servers) Download(ctx context.Context, serverName, mediaID string, wait time.Duration) (*RemoteFile, error) {
	ctx, cancel := context.WithCancel(ctx)
	read, write := io.Pipe()
	begun := make(chan *remoteapi.MediaHeader, 1)
	failed := make(chan error, 1)
	go func() {
		err := remoteapi.ReadMedia(ctx, s.bus, &remoteapi.MediaRequest{
			ServerName: serverName, MediaID: mediaID, TimeoutMS: wait.Milliseconds(), MaxBytes: s.limit,
		}, func(h *remoteapi.MediaHeader) error {
			begun <- h
			return nil
		}, func(chunk []byte) error {
			_, err := write.Write(chunk)
			return err
		})
		failed <- err
		write.CloseWithError(err) // nil: the end
	}()
	var err error
	select {
	case h := <-begun:
		return remoteFile(h, read, cancel), nil
	case err = <-failed:
	}
	select {
	case h := <-begun: // all of it has come, or the error comes with the file
		return remoteFile(h, read, cancel), nil
	default:
		cancel()
		return nil, err
	}
}

func remoteFile(h *remoteapi.MediaHeader, body *io.PipeReader, cancel context.CancelFunc) *RemoteFile {
	return &RemoteFile{Body: &remoteBody{body, cancel}, Size: h.Size, ContentType: h.ContentType, FileName: h.FileName}
}

// remoteBody ends the download when it is closed.
type remoteBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close implements io.Closer.
func (b *remoteBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}
