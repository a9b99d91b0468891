package clientapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"hearth/internal/matrixhttp"
)

// behindProxies makes the address of a request that of the client where the proxies
// in between are trusted. X-Forwarded-For is read from its end, which the nearest
// proxy has written: the first address that is not a trusted proxy is the client, and
// what stands before it is hearsay.
func behindProxies(next http.Handler, proxies []netip.Prefix) http.Handler {
	if len(proxies) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if client, ok := forwardedFor(r, proxies); ok {
			changed := *r
			changed.RemoteAddr = netip.AddrPortFrom(client, 0).String()
			r = &changed
		}
		next.ServeHTTP(w, r)
	})
}

// maxForwarded is how many addresses of X-Forwarded-For are looked at.
const maxForwarded = 16

func forwardedFor(r *http.Request, proxies []netip.Prefix) (client netip.Addr, ok bool) {
	near, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !within(near.Addr(), proxies) {
		return client, false
	}
	list := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(list) - 1; i >= 0 && i >= len(list)-maxForwarded; i-- {
		addr, err := netip.ParseAddr(strings.TrimSpace(list[i]))
		if err != nil || addr.Zone() != "" {
			break
		}
		client, ok = addr.Unmap(), true
		if !within(addr, proxies) {
			break
		}
	}
	return client, ok
}

func within(addr netip.Addr, networks []netip.Prefix) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// clientIP is the address that a request comes from, "" if it is not known.
func clientIP(r *matrixhttp.Request) string {
	at, err := netip.ParseAddrPort(r.HTTP.RemoteAddr)
	if err != nil {
		return ""
	}
	return at.Addr().Unmap().WithZone("").String()
}
