package storage

import "hearth/internal/store"

// texts runs a query for one column of text.
func texts(q store.Queryer, sql string, args ...any) ([]string, error) {
	return rowsOf[string](q, sql, args...)
}

// blobs runs a query for one column of bytes.
func blobs(q store.Queryer, sql string, args ...any) ([][]byte, error) {
	return rowsOf[[]byte](q, sql, args...)
}

func rowsOf[T any](q store.Queryer, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}
