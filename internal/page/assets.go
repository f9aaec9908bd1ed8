package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed all:dist
var dist embed.FS

//go:embed placeholder.html
var placeholderHTML []byte

//go:embed placeholder.css
var placeholderCSS []byte

// bundle is the built page, nil when this program was built without it.
func bundle() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil
	}
	if _, err := fs.Stat(sub, "index.html"); err != nil {
		return nil
	}
	return sub
}

// routeAssets serves the pages below /meet/: index.html for the lobby and every
// room, licenses.html, and assets/, whose names change with their content.
func routeAssets(mux *http.ServeMux, files fs.FS) {
	if files == nil {
		mux.Handle("GET /meet/assets/placeholder.css", newAsset("placeholder.css", placeholderCSS, "no-cache"))
		page := newAsset("placeholder.html", placeholderHTML, "no-cache")
		mux.Handle("GET /meet/{$}", page)
		mux.Handle("GET /meet/{room}", page)
		return
	}
	html := func(name string) http.Handler {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return http.NotFoundHandler()
		}
		return newAsset(name, data, "no-cache")
	}
	index := html("index.html")
	mux.Handle("GET /meet/{$}", index)
	mux.Handle("GET /meet/{room}", index)
	mux.Handle("GET /meet/licenses", html("licenses.html"))

	assets := map[string]http.Handler{}
	entries, _ := fs.ReadDir(files, "assets") // none: every asset is not found
	for _, e := range entries {
		if data, err := fs.ReadFile(files, "assets/"+e.Name()); err == nil {
			assets[e.Name()] = newAsset(e.Name(), data, "public, max-age=31536000, immutable")
		}
	}
	mux.HandleFunc("GET /meet/assets/{name}", func(w http.ResponseWriter, r *http.Request) {
		if a := assets[r.PathValue("name")]; a != nil {
			a.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	})
}

// asset is one file in its two forms. zipped is made when first asked for: the bundle
// is some three hundred kilobytes that way instead of more than a megabyte.
type asset struct {
	contentType, cache string
	plain              variant
	zipped             func() variant // its data is nil when compressing gains little
}

// variant is one encoding of an asset. Its entity tag is of these very bytes (RFC 9110, 8.8.3).
type variant struct {
	data []byte
	etag string
}

func newVariant(data []byte) variant {
	sum := sha256.Sum256(data)
	return variant{data, `"` + hex.EncodeToString(sum[:12]) + `"`}
}

func newAsset(name string, data []byte, cache string) *asset {
	return &asset{contentType: contentType(name), cache: cache, plain: newVariant(data), zipped: sync.OnceValue(func() variant {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(data) // into memory
		_ = z.Close()
		if b.Len() > len(data)*9/10 {
			return variant{}
		}
		return newVariant(b.Bytes())
	})}
}

func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", a.cache)
	h.Set("Vary", "Accept-Encoding")
	body := a.plain
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		if z := a.zipped(); z.data != nil {
			h.Set("Content-Encoding", "gzip")
			body = z
		}
	}
	h.Set("ETag", body.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body.data)) // answers If-None-Match
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3) as far as gzip goes.
func acceptsGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		coding, weight, weighted := strings.Cut(strings.ReplaceAll(part, " ", ""), ";q=")
		if strings.EqualFold(coding, "gzip") {
			q, err := strconv.ParseFloat(weight, 64)
			return !weighted || err == nil && q > 0
		}
	}
	return false
}

// contentType does not ask the operating system, whose table differs by machine.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".woff2":
		return "font/woff2"
	case ".svg":
		return "image/svg+xml"
	case ".map", ".json":
		return "application/json"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}
