package lru

import "testing"

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := New[string, int](2, nil)
	c.Put("a", 1)
	c.Put("b", 2)
	c.Get("a")
	c.Put("c", 3)
	if _, ok := c.Get("b"); ok {
		t.Error("b was used least recently and is still there")
	}
	for key, want := range map[string]int{"a": 1, "c": 3} {
		if got, ok := c.Get(key); !ok || got != want {
			t.Errorf("Get(%q) = %d, %v; want %d", key, got, ok, want)
		}
	}
}

func TestWeightsAreBounded(t *testing.T) {
	c := New[int, string](10, func(_ int, s string) int { return len(s) })
	c.Put(1, "12345")
	c.Put(2, "12345")
	c.Put(3, "123456")
	if c.Len() != 1 {
		t.Errorf("%d entries, want only the last", c.Len())
	}
	c.Put(4, "12345678901")
	if _, ok := c.Get(4); ok {
		t.Error("an entry heavier than the cache was kept")
	}
	c.Put(3, "1")
	if got := c.GetOrPut(3, "other"); got != "1" {
		t.Errorf("GetOrPut = %q, want what is there", got)
	}
	c.Put(5, "1")
	c.DeleteFunc(func(key int, _ string) bool { return key == 5 })
	if _, ok := c.Get(5); ok || c.Len() != 1 {
		t.Errorf("DeleteFunc left %d entries", c.Len())
	}
	c.Delete(3)
	c.Clear()
	if c.Len() != 0 || c.sum != 0 {
		t.Errorf("after Clear: %d entries, sum %d", c.Len(), c.sum)
	}
}
