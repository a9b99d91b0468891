package clientapi

import (
	"container/list"
	"sync"
)

// lru is a bounded map that forgets what was not used for longest. It is safe for
// use by many goroutines.
type lru[K comparable, V any] struct {
	mu    sync.Mutex // guards all
	max   int
	items map[K]*list.Element
	order *list.List // of *lruItem[K, V], the latest used first
}

type lruItem[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](max int) *lru[K, V] {
	return &lru[K, V]{max: max, items: map[K]*list.Element{}, order: list.New()}
}

func (c *lru[K, V]) get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.items[key]; at != nil {
		c.order.MoveToFront(at)
		return at.Value.(*lruItem[K, V]).value, true
	}
	return value, false
}

func (c *lru[K, V]) put(key K, value V) {
	c.update(key, func(V, bool) V { return value })
}

// update replaces the value of key by what f makes of it; f must not use c.
func (c *lru[K, V]) update(key K, f func(old V, ok bool) V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.items[key]; at != nil {
		item := at.Value.(*lruItem[K, V])
		item.value = f(item.value, true)
		c.order.MoveToFront(at)
		return
	}
	var none V
	c.items[key] = c.order.PushFront(&lruItem[K, V]{key, f(none, false)})
	if c.order.Len() > c.max {
		last := c.order.Back()
		delete(c.items, c.order.Remove(last).(*lruItem[K, V]).key)
	}
}

func (c *lru[K, V]) delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.items[key]; at != nil {
		c.order.Remove(at)
		delete(c.items, key)
	}
}
