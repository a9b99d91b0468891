// Package search keeps an inverted index of what people wrote: the text of messages,
// room names and topics ("Server Side Search" in the client-server API).
//
// It follows the room log, so that nobody who sends waits for it, and may be deleted:
// it is then built again from the log. It answers with places in the log and knows
// nothing of who may see what; the roomserver loads the events, decides, and compares
// the text itself with what was asked (Query.Match), because the index holds hashes.
//
// # Layout
//
// A document is one event; its terms are hashes of words, of single characters and
// pairs of characters in scripts without spaces, and of what is asked for besides
// words, such as the sender. Each room has its own documents:
//
//	memory ──► tail ──► block of 64 ──► block of 512 ──► block of 4,096
//	(log)    (one row)   8 of a size are merged into one of the next
//
// so a document is written four times, in few and large rows, however its words are
// spread. In a block documents have the numbers 0, 1, 2 …, and terms are split into
// parts by their hash, so that a search reads a small part of a large block. A search
// reads the tail and the blocks of each room; the newest documents are found in memory
// before they are on disk.
package search
