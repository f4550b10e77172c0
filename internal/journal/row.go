package journal

import (
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"time"
)

// row is a record as the table holds it.
type row struct {
	id         int64
	at         string
	service    string
	deployment int64
	kind       string
	data       sql.NullString
}

// sum is a CRC-32C (RFC 3720, appendix B.4) over all fields, the texts with
// their lengths before them, so that no bit and no border between two can move
// unseen. It guards against damage, not against malice.
func (w row) sum() int64 {
	b := binary.BigEndian.AppendUint64(nil, uint64(w.id))
	b = binary.BigEndian.AppendUint64(b, uint64(w.deployment))
	for _, text := range []string{w.at, w.service, w.kind, w.data.String} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
		b = append(b, text...)
	}
	if w.data.Valid {
		b = append(b, 1)
	}
	return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// timeLayout has one form for each instant and sorts as text.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

func (r Record) row() row {
	w := row{
		id:         r.ID,
		at:         r.At.UTC().Format(timeLayout),
		service:    r.Service,
		deployment: int64(r.Deployment),
		kind:       r.Kind,
	}
	if len(r.Data) > 0 {
		w.data = sql.NullString{String: string(r.Data), Valid: true}
	}
	return w
}

func (w row) record() (Record, error) {
	at, err := time.Parse(timeLayout, w.at)
	if err != nil {
		return Record{}, err
	}
	r := Record{ID: w.id, At: at, Service: w.service, Deployment: int(w.deployment), Kind: w.kind}
	if w.data.Valid {
		r.Data = json.RawMessage(w.data.String)
	}
	return r, nil
}
