// Package store is the one storage layer of Hearth: each component has one database in
// it, a SQLite file or a PostgreSQL schema, and the same SQL for both.
//
// # Writing
//
// One goroutine writes. It takes whatever was submitted while it committed the last
// batch, runs all of it in one transaction and commits it, with one fsync:
//
//	Submit ─┐
//	Submit ─┼─► queue ─► BEGIN · op · op · op · store head · COMMIT ─► Done · Done · Done
//	Stage  ─┘  (bounded)                                    (fsync)
//
// An op is answered when it is durable. Positions are numbers 1, 2, 3 … without gaps,
// given out by the writer and stored with the data, so the component's tables are its
// log. An error says that an op is not stored, with one exception: if the connection to
// PostgreSQL is lost during a commit nobody knows, the op fails with a temporary error
// and Head is read again. So ops must be idempotent by a key of their own.
//
// Policy says what a failure does to other ops. Independent ops know nothing of each
// other; Chained ones are staged by a caller that builds each on the ones before it,
// stored or not, and all fall together.
//
// # The lease
//
// Only one process may write. SQLite: an flock on <file>.lock. PostgreSQL: a session
// lock that the server frees when the holder's connection ends, and the row of table
// writer with an epoch that each new holder raises. Every batch checks the epoch, so a
// holder that was replaced while it slept cannot commit. The session lock and the
// prepared statements need real sessions: a pooler in front of PostgreSQL must pool
// sessions, not transactions.
//
// # SQL for both engines
//
// Use $1 $2 …, ON CONFLICT … DO UPDATE … RETURNING, UPDATE … FROM, WITH RECURSIVE,
// window functions, IN ($1, $2), (a, b) > ($1, $2), partial indexes; the types BIGINT,
// TEXT, BOOLEAN, {blob} and DOUBLE PRECISION. Do not use arrays, ANY, casts with ::,
// FOR UPDATE, DELETE … USING, sequences and identity columns, INSERT OR REPLACE, JSON
// functions. What the layer does about the silent differences:
//
//   - arguments: SQLite numbers $1 $2 by first appearance; the layer rewrites them.
//   - types: SQLite stores text in a number column; write {strict} after each table.
//   - order of text: by bytes; on PostgreSQL TEXT columns get the collation "C". Values
//     that come from no column, such as 'a' || 'b', must not be ordered or compared
//     with < there.
//   - text: must be UTF-8 without zero bytes, as PostgreSQL demands; refused on both.
//   - errors: a failed statement fails its op, because PostgreSQL then goes no further.
//   - results: Tx.Query reads the whole result before it returns.
//
// What remains for the author: LIKE ignores the case of ASCII letters on SQLite only, so
// compare with = or a range; sum() of BIGINT is NUMERIC on PostgreSQL (scanning it into
// an int64 works); $1 alone has no type there, so compare or insert it; flag = 1 is an
// error there, write flag or NOT flag; the order of rows without ORDER BY differs; no
// column may be named text, bigint, boolean or double.
//
// # Migrations
//
// Files NNNN_name.sql, numbered from 0001 without gaps. Each runs in one transaction
// together with its row in schema_version, so a crash leaves the version before or
// after it. Forward only; a file that was applied must not change, which is checked by
// its hash; a database with more versions than the program has files is refused before
// anything is changed. Macros: {blob} is BLOB or BYTEA, {text} is TEXT in the collation
// "C" (plain TEXT is, too), and after the closing parenthesis of a table {clustered}
// is WITHOUT ROWID or nothing and {strict} is STRICT or nothing. On SQLite BIGINT and
// BOOLEAN become INTEGER, so a BIGINT PRIMARY KEY is the rowid and costs no index.
package store
