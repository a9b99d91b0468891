package deep

import (
	"errors"
	"testing"
)

func TestCall(t *testing.T) {
	bad := errors.New("bad")
	if err := Call(func() error { return bad }); err != bad {
		t.Errorf("got %v", err)
	}
	if err := Call(func() error { return nil }); err != nil {
		t.Errorf("got %v", err)
	}
	defer func() {
		if p := recover(); p != "oh" {
			t.Errorf("recovered %v", p)
		}
	}()
	_ = Call(func() error { panic("oh") })
	t.Error("the panic was lost")
}
