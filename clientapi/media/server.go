// Package media is the content repository (client-server API, "Content repository"):
// uploads, downloads, thumbnails, previews of links.
//
// A file is stored once for each content (package blob); rows of the database
// (package storage) say which mxc:// URIs it has. An upload is answered when the
// content, its name in the directory and its row are on disk. Whatever a crash leaves
// without a row is removed by Run.
//
// routes.go is the table of endpoints. Content streams: no request holds more than a
// buffer of it in memory, except for decoding an image, whose memory is bounded.
package media

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"hearth/clientapi/media/blob"
	"hearth/clientapi/media/storage"
	"hearth/clientapi/preview"
	"hearth/clientapi/userapi"
	"hearth/internal/bus"
	"hearth/internal/lru"
	"hearth/internal/safedial"
	"hearth/internal/store"
)

// Deps is what the content repository needs.
type Deps struct {
	ServerName string
	// DataDir holds the files, in the folder media, and the SQLite file unless
	// DatabaseURL names a PostgreSQL database.
	DataDir, DatabaseURL string
	Log                  *logrus.Entry
	Metrics              prometheus.Registerer // may be nil
	Now                  func() time.Time      // nil: time.Now
	// MaxUpload is the size of the largest file, in bytes; 0: 100 MiB.
	MaxUpload int64
	// UserFiles and UserBytes bound what one user may have uploaded; 0: no bound.
	UserFiles, UserBytes int64
	// CacheBytes bounds what is kept of other servers' files and of images of
	// previews; 0: 10 GiB.
	CacheBytes int64
	// Reserve is how many bytes of the file system of DataDir are left to the databases:
	// a file that would use them is refused; 0: none.
	Reserve int64
	// Bus, if not nil, carries files to other servers.
	Bus *bus.Bus
	// Remote fetches files of other servers; nil: there are none.
	Remote Remote
	// Policy says what may be uploaded and kept; nil: everything.
	Policy Policy
	// Previews connects to pages that users name; nil: there are no previews.
	Previews *safedial.Dialer
}

// Policy says which files may be here. Errors are for the client.
type Policy interface {
	// MayUpload judges the user who is about to upload.
	MayUpload(ctx context.Context, userID string) error
	// MayStore judges a file of a server by its SHA-256.
	MayStore(server string, sha256 []byte) error
}

// allowAll is the policy of who has none.
type allowAll struct{}

func (allowAll) MayUpload(context.Context, string) error { return nil }
func (allowAll) MayStore(string, []byte) error           { return nil }

// Server is the content repository at work. It may be used from New until Close.
type Server struct {
	options  Deps
	log      *logrus.Entry
	now      func() time.Time
	db       *storage.Media
	files    *blob.Store
	space    *keeper
	uploads  *turnstile
	waiting  *waiting
	memory   *semaphore.Weighted // for decoding images, in bytes
	decoding chan struct{}       // one for each thumbnail that waits for memory or has it
	making   singleflight.Group  // thumbnails, by hash and variant
	broken   *lru.Cache[string, error]
	fetching singleflight.Group // files of other servers, by URI
	fetches  chan struct{}
	previews *preview.Previewer // nil: off
	viewing  *turnstile         // for previews
	expired  chan struct{}      // tells Run to make room
	stopping context.Context    // ends with Run, and with it whoever waits for content
	stop     context.CancelFunc
}

const (
	// decodeMemory is for all decoding together, in bytes. One animation needs most of it.
	decodeMemory = 512 << 20
	// leastDecode is what the smallest image counts for, which bounds their number.
	leastDecode      = decodeMemory / 4
	maxDecoding      = 64
	maxBroken        = 1000
	maxFetches       = 32
	defaultCache     = 10 << 30
	defaultUpload    = 100 << 20
	leastTempSpace   = 1 << 30
	uploadsPerUser   = 8
	uploadsTogether  = 256
	waitingTogether  = 1000
	previewsPerUser  = 4
	previewsTogether = 64
	pendingPerUser   = 50
	pendingLifetime  = 24 * time.Hour
	expireEvery      = 10 * time.Minute
	sweepEvery       = 24 * time.Hour
	expireAtOnce     = 200
	backgroundBudget = 10 * time.Second
)

// New opens the database and the directory of files; Run must follow.
func New(ctx context.Context, d Deps) (*Server, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Policy == nil {
		d.Policy = allowAll{}
	}
	if d.CacheBytes == 0 {
		d.CacheBytes = defaultCache
	}
	if d.MaxUpload == 0 {
		d.MaxUpload = defaultUpload
	}
	db, err := storage.Open(ctx, store.Options{
		DataDir: d.DataDir, URL: d.DatabaseURL, Log: d.Log, Metrics: d.Metrics, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	// The database's lease says that nobody else uses the directory.
	files, err := blob.Open(filepath.Join(d.DataDir, "media"), max(leastTempSpace, 4*d.MaxUpload))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("media: %w", err), db.Close())
	}
	s := &Server{
		options: d, log: d.Log, now: d.Now, db: db, files: files, space: newKeeper(d.DataDir, d.Reserve),
		uploads: newTurnstile(uploadsPerUser, uploadsTogether), waiting: newWaiting(waitingTogether),
		memory: semaphore.NewWeighted(decodeMemory), decoding: make(chan struct{}, maxDecoding),
		viewing: newTurnstile(previewsPerUser, previewsTogether),
		broken:  lru.New[string, error](maxBroken, nil),
		fetches: make(chan struct{}, maxFetches), expired: make(chan struct{}, 1),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	if d.Bus != nil {
		if err := errors.Join(bus.HandleStream(d.Bus, userapi.LocalMedia, s.local), bus.Handle(d.Bus, userapi.DropMedia, s.drop)); err != nil {
			return nil, errors.Join(fmt.Errorf("media: register calls: %w", err), db.Close())
		}
	}
	if d.Previews != nil {
		s.previews = preview.New(preview.Deps{Dialer: d.Previews, Images: previewImages{s}, Now: d.Now})
	}
	return s, nil
}

// Run removes what nobody needs until ctx ends, or fails when another process has
// taken the database over. When it returns, requests that wait for content end.
func (s *Server) Run(ctx context.Context) error {
	defer s.stop()
	s.background(ctx, "remove files that nobody needs", func() error { _, err := s.Sweep(ctx); return err })
	expire, sweep := time.NewTicker(expireEvery), time.NewTicker(sweepEvery)
	defer expire.Stop()
	defer sweep.Stop()
	for {
		s.background(ctx, "remove expired media", func() error { return s.expire(ctx) })
		select {
		case <-ctx.Done():
			return nil
		case <-s.db.Lost():
			return errors.New("media: another process has taken over the database")
		case <-expire.C:
		case <-s.expired:
		case <-sweep.C:
			s.background(ctx, "remove files that nobody needs", func() error { _, err := s.Sweep(ctx); return err })
		}
	}
}

func (s *Server) background(ctx context.Context, what string, f func() error) {
	if err := f(); err != nil && ctx.Err() == nil && s.log != nil {
		s.log.WithError(err).Warn("could not " + what)
	}
}

// Close releases the database. No request may be at work any more.
func (s *Server) Close() error {
	s.stop()
	return s.db.Close()
}
