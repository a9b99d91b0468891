package safedial

import "net/netip"

// Default lists what is no public unicast address: the IANA registries of special
// purpose addresses for IPv4 and IPv6.
func Default() []netip.Prefix {
	texts := []string{
		"0.0.0.0/8",       // this network
		"10.0.0.0/8",      // private
		"100.64.0.0/10",   // shared by carriers
		"127.0.0.0/8",     // loopback
		"169.254.0.0/16",  // link-local, metadata of clouds
		"172.16.0.0/12",   // private
		"192.0.0.0/24",    // IETF assignments
		"192.0.2.0/24",    // documentation
		"192.88.99.0/24",  // 6to4 relays
		"192.168.0.0/16",  // private
		"198.18.0.0/15",   // benchmarks
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"224.0.0.0/4",     // multicast
		"240.0.0.0/4",     // reserved, broadcast

		// Public unicast is in 2000::/3. The rest holds the unspecified and the loopback
		// address, IPv4-compatible ones, NAT64, discard-only, segment routing, unique
		// local, link-local, site-local and multicast.
		"::/3", "4000::/2", "8000::/1",
		"2001::/23",     // IETF assignments: Teredo, ORCHID, benchmarks
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4
		"3fff::/20",     // documentation
	}
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}
