package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// What is read of one answer at most. A result's answer holds its first rows and an address of some 1 kB for each chunk;
// everything else is a few kB.
var (
	queryAnswerBytesMax int64 = 256 << 20
	otherAnswerBytesMax int64 = 16 << 20
)

var errAnswerTooLarge = errors.New("the server's answer does not end")

// guard stands before the network: no secret leaves in the clear, and no answer is read without end.
type guard struct{ base http.RoundTripper }

func (g guard) RoundTrip(request *http.Request) (*http.Response, error) {
	if carriesSecrets(request) && !isSafeAddress(request.URL) {
		return nil, &failure{Kind: kindConnection, Reason: "insecure", NothingSent: true,
			Message: fmt.Sprintf("a request with secrets is not sent to %s://%s: it would go in the clear", request.URL.Scheme,
				request.URL.Host)}
	}
	answer, err := g.base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	limit := otherAnswerBytesMax
	if carriesStatement(request.URL.Path) {
		limit = queryAnswerBytesMax
	}
	answer.Body = &boundedBody{answer.Body, limit}
	return answer, nil
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(into []byte) (int, error) {
	if b.left < 0 {
		return 0, errAnswerTooLarge
	}
	if int64(len(into)) > b.left+1 {
		into = into[:b.left+1]
	}
	count, err := b.ReadCloser.Read(into)
	if b.left -= int64(count); b.left < 0 {
		return 0, errAnswerTooLarge
	}
	return count, err
}

// Only a cloud's own metadata service is asked over plain http, by a GET without a token.
func carriesSecrets(request *http.Request) bool {
	return request.Method != http.MethodGet || request.Header.Get("Authorization") != ""
}

// isSafeAddress: https, or http that does not leave this machine.
func isSafeAddress(address *url.URL) bool {
	return address.Scheme == "https" && address.Host != "" || address.Scheme == "http" && isLoopback(address.Hostname())
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
