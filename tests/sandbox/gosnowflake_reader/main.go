// Command gosnowflake_reader reads a table from a sandbox with Snowflake's own Go driver and prints, as JSON, how many
// rows came and a checksum that the test computes from the Parquet file in its own way.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"log"
	"os"
	"time"

	"github.com/snowflakedb/gosnowflake"
)

type report struct {
	Rows     int    `json:"rows"`
	Checksum uint64 `json:"checksum"`
	Columns  int    `json:"columns"`
}

func main() {
	port := flag.Int("port", 0, "the sandbox's port")
	query := flag.String("query", "", "the statement to read")
	flag.Parse()
	found, err := read(*port, *query)
	if err != nil {
		var snowflake *gosnowflake.SnowflakeError
		if errors.As(err, &snowflake) {
			fmt.Fprintf(os.Stderr, "%06d (%s): ", snowflake.Number, snowflake.SQLState)
		}
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func read(port int, query string) (report, error) {
	var found report
	connector := gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, gosnowflake.Config{
		Account: "sandbox", User: "SNOWMELT", Password: "snowmelt",
		Host: "127.0.0.1", Port: port, Protocol: "http",
		Database: "SHOP", Schema: "PUBLIC",
		DisableTelemetry: true, LoginTimeout: 20 * time.Second,
	})
	db := sql.OpenDB(connector)
	defer db.Close()
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		return found, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return found, err
	}
	found.Columns = len(columns)
	values := make([]sql.NullString, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return found, err
		}
		found.Rows++
		// A sum over rows: it does not depend on their order.
		hash := fnv.New64a()
		for _, value := range values {
			if value.Valid {
				_, _ = hash.Write([]byte(value.String))
			} else {
				_, _ = hash.Write([]byte{0})
			}
			_, _ = hash.Write([]byte{'|'})
		}
		found.Checksum += hash.Sum64()
	}
	return found, rows.Err()
}
