package search

import (
	"hearth/internal/pdu"
	"hearth/roomserver/roomapi"
)

// Texts returns what of an event can be searched; no kind if it is nothing.
func Texts(e *roomapi.Event) (Kinds, []string) {
	var kind Kinds
	var key string
	switch {
	case e.Type == "m.room.message" && e.StateKey == nil:
		kind, key = Body, "body"
	case e.StateKey == nil || *e.StateKey != "":
		return 0, nil
	case e.Type == "m.room.name":
		kind, key = Name, "name"
	case e.Type == "m.room.topic":
		kind, key = Topic, "topic"
	default:
		return 0, nil
	}
	content := e.Content()
	var texts []string
	if text, ok := pdu.GetString(content, key); ok && text != "" {
		texts = append(texts, text)
	}
	if kind == Topic {
		if plain := plainTopic(content); plain != "" && (len(texts) == 0 || plain != texts[0]) {
			texts = append(texts, plain)
		}
	}
	if len(texts) == 0 {
		return 0, nil
	}
	return kind, texts
}

// plainTopic is the text/plain representation in m.topic; its list may be given bare.
func plainTopic(content []byte) (text string) {
	topic, ok := pdu.Get(content, "m.topic")
	if !ok {
		return ""
	}
	if pdu.Kind(topic) == '{' {
		if topic, ok = pdu.Get(topic, "m.text"); !ok {
			return ""
		}
	}
	if pdu.Kind(topic) != '[' {
		return ""
	}
	pdu.Elements(topic, func(val []byte) bool {
		if pdu.Kind(val) != '{' {
			return true
		}
		if mimetype, ok := pdu.GetString(val, "mimetype"); ok && mimetype != "text/plain" {
			return true
		}
		body, ok := pdu.GetString(val, "body")
		text = body
		return !ok
	})
	return text
}
