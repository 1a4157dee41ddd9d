package main

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// The parts of a response that C++ needs go through as the server wrote them; nothing is decoded here.
type responseData struct {
	QueryID         string            `json:"queryId"`
	SQLState        string            `json:"sqlState"`
	Total           int64             `json:"total"`
	Returned        *int64            `json:"returned"` // some servers leave it out
	Parameters      []parameter       `json:"parameters"`
	StatementTypeID int64             `json:"statementTypeId"`
	Format          string            `json:"queryResultFormat"`
	RowType         json.RawMessage   `json:"rowtype"`
	RowsetBase64    json.RawMessage   `json:"rowsetBase64"`
	Rowset          json.RawMessage   `json:"rowset"`
	Chunks          []chunk           `json:"chunks"`
	ChunkHeaders    map[string]string `json:"chunkHeaders"`
	Qrmk            string            `json:"qrmk"`
	ResultIDs       string            `json:"resultIds"`
}

// parameter is a setting as it stood for the statement; the value is a number, a text or a truth value.
type parameter struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

type chunk struct {
	URL              string `json:"url"`
	RowCount         int64  `json:"rowCount"`
	UncompressedSize int64  `json:"uncompressedSize"`
	CompressedSize   int64  `json:"compressedSize"`
}

type response struct {
	Success bool         `json:"success"`
	Code    string       `json:"code"`
	Message string       `json:"message"`
	Data    responseData `json:"data"`
}

const (
	codeInProgress      = "333333"
	codeInProgressAsync = "333334"
	codeSessionExpired  = "390112"
)

func (r *response) inProgress() bool {
	return r.Code == codeInProgress || r.Code == codeInProgressAsync
}

// holdsResult: renewals (390112) and polls answer too, and a refusal has nothing to keep.
func (r *response) holdsResult() bool {
	return r.Success && !r.inProgress() && r.Code != codeSessionExpired
}

// slim is what the driver gets to see of a finished response. It has no use for the rows (it would decode megabytes of
// base64 once more), could fail on them after the server succeeded, and writes the names of database and warehouse
// into its configuration without a lock, which parallel statements turn into a data race.
func (r *response) slim() []byte {
	var text bytes.Buffer
	text.WriteString(`{"success":true,"code":null,"message":null,"data":{"queryId":`)
	writeString(&text, r.Data.QueryID)
	text.WriteString(`,"sqlState":`)
	writeString(&text, r.Data.SQLState)
	text.WriteString(`,"resultIds":`) // the driver fetches the first result of a multi-statement answer itself
	writeString(&text, r.Data.ResultIDs)
	text.WriteString(`,"total":` + strconv.FormatInt(r.Data.Total, 10))
	text.WriteString(`,"statementTypeId":` + strconv.FormatInt(r.Data.StatementTypeID, 10) + `}}`)
	return text.Bytes()
}

// facts is the normalised result for C++.
func (d *responseData) facts() ([]byte, error) {
	format := d.Format
	if format == "" { // some servers leave it out of answers without rows
		format = "json"
		if len(d.RowsetBase64) > 2 {
			format = "arrow"
		}
	}
	small, err := json.Marshal(struct {
		QueryID         string            `json:"query_id"`
		Total           int64             `json:"total"`
		Returned        *int64            `json:"returned"`
		RowLimit        string            `json:"row_limit"`
		StatementTypeID int64             `json:"statement_type_id"`
		Format          string            `json:"format"`
		RowType         json.RawMessage   `json:"row_type"`
		Chunks          []chunkFacts      `json:"chunks"`
		ChunkHeaders    map[string]string `json:"chunk_headers"`
	}{d.QueryID, d.Total, d.Returned, d.rowLimit(), d.StatementTypeID, format, orEmptyList(d.RowType), d.chunkFacts(), d.requestHeaders()})
	if err != nil {
		return nil, err
	}
	// The rows are appended as they are: Marshal would scan megabytes again to prove them valid.
	text := make([]byte, 0, len(small)+len(d.RowsetBase64)+len(d.Rowset)+64)
	text = append(text, small[:len(small)-1]...)
	if format == "arrow" {
		text = append(append(text, `,"rowset_base64":`...), orEmptyString(d.RowsetBase64)...)
	} else {
		text = append(append(text, `,"rowset":`...), orEmptyList(d.Rowset)...)
	}
	return append(text, '}'), nil
}

// rowLimit is the parameter that cuts results off, as the answer itself tells it; empty where it does not.
func (d *responseData) rowLimit() string {
	for _, p := range d.Parameters {
		if strings.EqualFold(p.Name, "ROWS_PER_RESULTSET") && !isNull(p.Value) {
			return strings.Trim(string(p.Value), `"`)
		}
	}
	return ""
}

type chunkFacts struct {
	URL              string `json:"url"`
	RowCount         int64  `json:"row_count"`
	UncompressedSize int64  `json:"uncompressed_size"`
	CompressedSize   int64  `json:"compressed_size"`
}

func (d *responseData) chunkFacts() []chunkFacts {
	facts := make([]chunkFacts, 0, len(d.Chunks))
	for _, c := range d.Chunks {
		facts = append(facts, chunkFacts(c))
	}
	return facts
}

// requestHeaders are what a chunk's request needs: the server's own, else the key it encrypted the chunks with.
func (d *responseData) requestHeaders() map[string]string {
	switch {
	case len(d.Chunks) == 0:
		return map[string]string{}
	case len(d.ChunkHeaders) > 0:
		return d.ChunkHeaders
	case d.Qrmk != "":
		return map[string]string{
			"x-amz-server-side-encryption-customer-algorithm": "AES256",
			"x-amz-server-side-encryption-customer-key":       d.Qrmk,
		}
	}
	return map[string]string{}
}

func isNull(text json.RawMessage) bool { return len(text) == 0 || string(text) == "null" }

func orEmptyList(text json.RawMessage) json.RawMessage {
	if isNull(text) {
		return json.RawMessage("[]")
	}
	return text
}

func orEmptyString(text json.RawMessage) json.RawMessage {
	if isNull(text) {
		return json.RawMessage(`""`)
	}
	return text
}

func writeString(text *bytes.Buffer, value string) {
	quoted, _ := json.Marshal(value) // a string always has a JSON form
	text.Write(quoted)
}
