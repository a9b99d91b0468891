package bus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"hearth/internal/merr"
)

func TestErrorsKeepAllFields(t *testing.T) {
	full := merr.New(418, "M_TEA", "Pot: ü \"x\"\n").With("soft", true).With("n", "1")
	full.Temporary, full.RetryAfter = true, 1500*time.Millisecond
	for name, c := range map[string]struct{ give, want error }{
		"Full":     {full, full},
		"Wrapped":  {fmt.Errorf("while: %w", merr.Forbidden("no")), merr.Forbidden("no")},
		"Plain":    {errors.New("secret"), merr.Internal(nil)},
		"Huge":     {merr.BadJSON("%s", strings.Repeat("x", 2000)), merr.BadJSON("%s", strings.Repeat("x", 2000))},
		"NotJSON":  {merr.NotFound("x").With("f", func() {}), merr.NotFound("x")},
		"NoStatus": {&merr.Error{Code: "M_X"}, merr.Internal(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			overNATS(t, defaults(), func(t *testing.T, p pair) {
				must(t, Handle(p.owner, echo, func(context.Context, *ask) (*reply, error) { return nil, c.give }))
				_, err := echo.Do(context.Background(), p.caller, &ask{})
				var got, want *merr.Error
				if !errors.As(err, &got) || !errors.As(c.want, &want) {
					t.Fatalf("got %v", err)
				}
				if got.Code != want.Code || got.Message != want.Message || got.Status != want.Status || got.Temporary != want.Temporary ||
					got.RetryAfter != want.RetryAfter || !reflect.DeepEqual(got.Extra, want.Extra) {
					t.Fatalf("got %#v, want %#v", got, want)
				}
			})
		})
	}
}

func TestErrorWithHugeExtraStillArrives(t *testing.T) {
	overNATS(t, defaults(), func(t *testing.T, p pair) {
		must(t, Handle(p.owner, echo, func(context.Context, *ask) (*reply, error) {
			return nil, merr.Forbidden("no").With("big", strings.Repeat("x", 2<<20))
		}))
		_, err := echo.Do(context.Background(), p.caller, &ask{})
		if !errors.Is(err, merr.Forbidden("")) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestHandlerErrorKeepsItsCauseLocally(t *testing.T) {
	b := open(t, Options{Local: true}, defaults())
	cause := errors.New("cause")
	must(t, Handle(b, echo, func(context.Context, *ask) (*reply, error) { return nil, cause }))
	_, err := echo.Do(context.Background(), b, &ask{})
	if !errors.Is(err, cause) || status(err) != 500 {
		t.Fatalf("got %v", err)
	}
}

func status(err error) int {
	var e *merr.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Status
}

func TestPanicBecomesInternalError(t *testing.T) {
	each(t, defaults(), func(t *testing.T, p pair) {
		must(t, Handle(p.owner, echo, func(_ context.Context, a *ask) (*reply, error) {
			if a.N == 0 {
				panic("boom")
			}
			return &reply{}, nil
		}))
		_, err := echo.Do(context.Background(), p.caller, &ask{})
		if status(err) != http.StatusInternalServerError {
			t.Fatalf("got %v", err)
		}
		_, err = echo.Do(context.Background(), p.caller, &ask{N: 1})
		must(t, err)
	})
}
