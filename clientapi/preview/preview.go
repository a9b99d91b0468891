// Package preview tells what a web page is about (client-server API, "GET
// /media/preview_url").
//
// Users choose the page, so every connection goes through package safedial, and
// everything that comes back is bounded and looked at with suspicion. Nobody learns
// from an error why a page could not be fetched.
package preview

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/singleflight"

	"hearth/internal/lru"
	"hearth/internal/merr"
	"hearth/internal/safedial"
)

// Images keeps the images of pages.
type Images interface {
	// Keep stores an image. Anything that is no image, or too large, is an error.
	Keep(ctx context.Context, src io.Reader, size int64) (*Image, error)
}

// Image is an image that was kept.
type Image struct {
	URI           string // mxc://
	ContentType   string
	Width, Height int   // pixels
	Size          int64 // bytes
}

// Deps is what previews need.
type Deps struct {
	Dialer *safedial.Dialer
	Images Images
	Now    func() time.Time
}

const (
	cacheBytes  = 8 << 20
	goodFor     = time.Hour
	badFor      = time.Minute
	maxURL      = 2048
	maxFetching = 16
	// budget bounds everything that is done for one preview.
	budget = 25 * time.Second
)

// Previewer makes previews.
type Previewer struct {
	client   *http.Client
	images   Images
	now      func() time.Time
	cache    *lru.Cache[string, result]
	flight   singleflight.Group
	fetching chan struct{}
}

type result struct {
	body  json.RawMessage
	err   error
	until time.Time
}

// New returns a Previewer.
func New(d Deps) *Previewer {
	return &Previewer{
		client: newClient(d.Dialer), images: d.Images, now: d.Now, fetching: make(chan struct{}, maxFetching),
		cache: lru.New(cacheBytes, func(k string, r result) int { return len(k) + len(r.body) + 200 }),
	}
}

// Get returns the OpenGraph data of a page as a JSON object, at most an hour old. A
// text that is no URL of the web is M_INVALID_PARAM; a page that cannot be had is 502
// M_UNKNOWN. ctx bounds the wait; the page is fetched for those who ask later, too.
func (p *Previewer) Get(ctx context.Context, page string) (json.RawMessage, error) {
	u, err := webURL(page)
	if err != nil {
		return nil, err
	}
	key := u.String()
	now := p.now()
	if r, ok := p.cache.Get(key); ok && now.Before(r.until) && r.until.Sub(now) <= goodFor {
		return r.body, r.err
	}
	done := p.flight.DoChan(key, func() (any, error) {
		select {
		case p.fetching <- struct{}{}:
			defer func() { <-p.fetching }()
		default:
			return nil, merr.Busy(time.Second)
		}
		ctx, cancel := context.WithTimeout(context.Background(), budget)
		defer cancel()
		r := result{until: p.now().Add(goodFor)}
		if r.body, r.err = p.fetch(ctx, u); r.err != nil {
			r.err = merr.New(http.StatusBadGateway, "M_UNKNOWN", "The page could not be fetched").WithCause(r.err)
			r.until = p.now().Add(badFor)
		}
		p.cache.Put(key, r)
		return r.body, r.err
	})
	select {
	case r := <-done:
		body, _ := r.Val.(json.RawMessage)
		return body, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// webURL parses and checks a URL of a page. What follows # stays with the client.
func webURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL {
		return nil, merr.InvalidParam("This is not a URL that can be previewed")
	}
	u.Fragment, u.RawFragment = "", ""
	if err := checkURL(u); err != nil {
		return nil, err
	}
	return u, nil
}

// checkURL refuses what is not a plain web page: other schemes, passwords, and ports
// of services that would take a request for something else.
func checkURL(u *url.URL) error {
	port := 443
	if p := u.Port(); p != "" {
		port, _ = strconv.Atoi(p) // 0 if it is none
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Opaque != "" ||
		port != 80 && port != 443 && port < 1024 || port > 65535 {
		return merr.InvalidParam("This is not a URL that can be previewed")
	}
	return nil
}

// fetch makes the preview of a page.
func (p *Previewer) fetch(ctx context.Context, u *url.URL) (json.RawMessage, error) {
	r, err := p.get(ctx, u, "text/html,application/xhtml+xml,image/*;q=0.9")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	found := map[string]any{}
	switch kind := r.kind; {
	case isHTML(kind):
		page := parse(r.text(), r.header)
		image := page.image
		for k, v := range page.properties {
			found[k] = v
		}
		if image != "" {
			p.attach(ctx, found, r.url, image)
		}
	case isImage(kind):
		if image, err := p.images.Keep(ctx, r.limited(maxImage), r.size); err == nil {
			describe(found, image)
		}
	}
	return json.Marshal(found)
}

// attach fetches the image that a page names. A page without it is still a page.
func (p *Previewer) attach(ctx context.Context, found map[string]any, base *url.URL, ref string) {
	u, err := base.Parse(ref)
	if err != nil || len(ref) > maxURL || checkURL(u) != nil {
		return
	}
	r, err := p.get(ctx, u, "image/*")
	if err != nil {
		return
	}
	defer r.Body.Close()
	if image, err := p.images.Keep(ctx, r.limited(maxImage), r.size); err == nil {
		describe(found, image)
	}
}

func describe(found map[string]any, image *Image) {
	found["og:image"] = image.URI
	found["og:image:type"] = image.ContentType
	found["og:image:width"] = image.Width
	found["og:image:height"] = image.Height
	found["matrix:image:size"] = image.Size
}
