package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// The types of PostgreSQL that the store speaks in binary.
const (
	oidBool    = 16
	oidBytea   = 17
	oidName    = 19
	oidInt8    = 20
	oidInt2    = 21
	oidInt4    = 23
	oidText    = 25
	oidUnknown = 705
	oidFloat4  = 700
	oidFloat8  = 701
	oidBpchar  = 1042
	oidVarchar = 1043
	oidNumeric = 1700
)

const (
	textFormat   int16 = 0
	binaryFormat int16 = 1
)

func resultFormat(oid uint32) int16 {
	switch oid {
	case oidBool, oidBytea, oidInt8, oidInt2, oidInt4, oidFloat4, oidFloat8:
		return binaryFormat
	}
	return textFormat
}

// appendParam appends the wire form of v, which bound returned and is not nil, for a
// parameter of the given type. It converts nothing that SQLite's STRICT tables refuse.
func appendParam(dst []byte, oid uint32, v any) ([]byte, int16, error) {
	switch v := v.(type) {
	case int64:
		return appendInteger(dst, oid, v)
	case string:
		switch oid {
		case oidText, oidVarchar, oidBpchar, oidName, oidUnknown:
			return append(dst, v...), textFormat, nil
		}
	case []byte:
		if oid == oidBytea {
			return append(dst, v...), binaryFormat, nil
		}
	case bool:
		if oid == oidBool {
			if v {
				return append(dst, 1), binaryFormat, nil
			}
			return append(dst, 0), binaryFormat, nil
		}
	case float64:
		switch oid {
		case oidFloat8:
			return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), binaryFormat, nil
		case oidFloat4, oidNumeric:
			return strconv.AppendFloat(dst, v, 'g', -1, 64), textFormat, nil
		}
	}
	return dst, 0, fmt.Errorf("store: %T for a parameter of type %d", v, oid)
}

func appendInteger(dst []byte, oid uint32, v int64) ([]byte, int16, error) {
	switch oid {
	case oidInt8:
		return binary.BigEndian.AppendUint64(dst, uint64(v)), binaryFormat, nil
	case oidInt4:
		if int64(int32(v)) == v {
			return binary.BigEndian.AppendUint32(dst, uint32(v)), binaryFormat, nil
		}
	case oidInt2:
		if int64(int16(v)) == v {
			return binary.BigEndian.AppendUint16(dst, uint16(v)), binaryFormat, nil
		}
	case oidFloat8, oidFloat4, oidNumeric:
		return strconv.AppendInt(dst, v, 10), textFormat, nil
	}
	return dst, 0, fmt.Errorf("store: integer %d for a parameter of type %d", v, oid)
}

// pgCell reads a value that the server sent in resultFormat(oid). Text and blobs stay
// in b.
func pgCell(oid uint32, b []byte) cell {
	switch {
	case oid == oidInt8 && len(b) == 8:
		return cell{kind: integer, n: int64(binary.BigEndian.Uint64(b))}
	case oid == oidInt4 && len(b) == 4:
		return cell{kind: integer, n: int64(int32(binary.BigEndian.Uint32(b)))}
	case oid == oidInt2 && len(b) == 2:
		return cell{kind: integer, n: int64(int16(binary.BigEndian.Uint16(b)))}
	case oid == oidBool && len(b) == 1:
		return cell{kind: boolean, n: int64(b[0])}
	case oid == oidFloat8 && len(b) == 8:
		return cell{kind: float, n: int64(binary.BigEndian.Uint64(b))}
	case oid == oidFloat4 && len(b) == 4:
		return cell{kind: float, n: int64(math.Float64bits(float64(math.Float32frombits(binary.BigEndian.Uint32(b)))))}
	case oid == oidBytea:
		return cell{kind: blob, b: b, borrowed: true}
	}
	return cell{kind: text, b: b, borrowed: true}
}
