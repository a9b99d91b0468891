package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"
)

// Argon2id at the parameters that OWASP recommends; a hash tells its own, so they
// may be raised later.
const (
	argonMemory  = 19 << 10 // KiB
	argonPasses  = 2
	argonThreads = 1
	argonKey     = 32
	argonSalt    = 16

	// What a hash may ask of us. Hashes can be imported, so this is input.
	maxArgonMemory = 256 << 10 // KiB
	maxArgonPasses = 16
	maxBcryptCost  = 14
)

var errHash = errors.New("account: unusable password hash")

// hasher makes and checks password hashes, a few at a time: each takes 19 MiB and
// tens of milliseconds of a processor, which log-ins must not take from the rest.
type hasher struct {
	slots *semaphore.Weighted
	// quiet gives the memory back to the system when nobody has logged in for a
	// while. Otherwise a log-in or two would double what a small server holds for
	// as long as it runs, since its heap is smaller than they are.
	quiet *time.Timer
}

const quietAfter = 2 * time.Second

func newHasher() *hasher {
	return &hasher{
		slots: semaphore.NewWeighted(int64(max(1, min(4, runtime.GOMAXPROCS(0))))),
		quiet: time.AfterFunc(quietAfter, debug.FreeOSMemory),
	}
}

// enter waits for a slot; leave must follow.
func (h *hasher) enter(ctx context.Context) (leave func(), err error) {
	if err := h.slots.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() {
		h.slots.Release(1)
		h.quiet.Reset(quietAfter)
	}, nil
}

func (h *hasher) close() { h.quiet.Stop() }

// hash returns the PHC string of a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, argonPasses, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonPasses, argonThreads,
		b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// check reports whether password belongs to hash, and whether the hash should be
// made anew. With an empty hash it does the same work and says no.
func (h *hasher) check(ctx context.Context, hash, password string) (ok, old bool, err error) {
	if hash == "" {
		_, err := h.hash(ctx, password)
		return false, false, err
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return false, false, err
	}
	defer leave()
	if strings.HasPrefix(hash, "$2") {
		if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost > maxBcryptCost {
			return false, false, errHash
		}
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil, true, nil
	}
	return checkArgon(hash, password)
}

func checkArgon(hash, password string) (ok, old bool, err error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return false, false, errHash
	}
	var memory, passes uint32
	var threads uint8
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil || n != 3 {
		return false, false, errHash
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(key) < 16 || len(key) > 128 ||
		memory > maxArgonMemory || passes < 1 || passes > maxArgonPasses || threads < 1 {
		return false, false, errHash
	}
	got := argon2.IDKey([]byte(password), salt, passes, memory, threads, uint32(len(key)))
	weaker := memory < argonMemory || passes < argonPasses
	return subtle.ConstantTimeCompare(got, key) == 1, weaker, nil
}
