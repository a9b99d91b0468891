// Package lru is a cache with a bound on the sum of its entries' weights, usually
// bytes. The least recently used entries make room for new ones.
package lru

import (
	"container/list"
	"sync"
)

// Cache is safe for use by many goroutines.
type Cache[K comparable, V any] struct {
	weigh func(K, V) int
	max   int

	mu    sync.Mutex // guards what follows
	sum   int
	order *list.List // front: used last
	items map[K]*list.Element
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	weight int
}

// New returns a cache that holds entries with weights of at most max together.
// weigh nil counts entries.
func New[K comparable, V any](max int, weigh func(K, V) int) *Cache[K, V] {
	if weigh == nil {
		weigh = func(K, V) int { return 1 }
	}
	return &Cache[K, V]{weigh: weigh, max: max, order: list.New(), items: make(map[K]*list.Element)}
}

// Get returns the entry and marks it as used.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*entry[K, V]).value, true
	}
	var zero V
	return zero, false
}

// Put adds or replaces an entry. One that weighs more than the whole cache is not kept.
func (c *Cache[K, V]) Put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
	c.insert(key, value)
}

// GetOrPut returns the entry that is there, or adds value and returns it.
func (c *Cache[K, V]) GetOrPut(key K, value V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*entry[K, V]).value
	}
	c.insert(key, value)
	return value
}

// Delete removes an entry.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
}

// DeleteFunc removes the entries that f selects. Its cost grows with the cache.
func (c *Cache[K, V]) DeleteFunc(f func(K, V) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.items {
		if f(key, e.Value.(*entry[K, V]).value) {
			c.remove(key)
		}
	}
}

// Clear removes all entries.
func (c *Cache[K, V]) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order.Init()
	clear(c.items)
	c.sum = 0
}

// Len returns the number of entries.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.items)
}

func (c *Cache[K, V]) insert(key K, value V) {
	e := &entry[K, V]{key: key, value: value, weight: c.weigh(key, value)}
	if e.weight > c.max {
		return
	}
	c.items[key] = c.order.PushFront(e)
	c.sum += e.weight
	for c.sum > c.max {
		c.remove(c.order.Back().Value.(*entry[K, V]).key)
	}
}

func (c *Cache[K, V]) remove(key K) {
	if e, ok := c.items[key]; ok {
		c.sum -= e.Value.(*entry[K, V]).weight
		c.order.Remove(e)
		delete(c.items, key)
	}
}
