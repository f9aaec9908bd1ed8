package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"belfry/internal/account"
	"belfry/internal/meeting"
)

// Keys lists the access keys and changes them. A key that is made without an
// account belongs to defaultAccount.
func Keys(book *account.Book, defaultAccount string, log *slog.Logger) Commands {
	// done answers with what was done, and leaves it in the log.
	done := func(w http.ResponseWriter, r *http.Request, what string, err error) {
		if err != nil {
			refuse(w, err)
			return
		}
		log.Info("access key "+what, "key", r.PathValue("id"))
		fmt.Fprintf(w, "%s is %s\n", r.PathValue("id"), what)
	}
	issued := func(w http.ResponseWriter, what string, k account.Key, err error) {
		if err != nil {
			refuse(w, err)
			return
		}
		log.Info("access key made", "key", k.ID, "account", k.Account, "for", what)
		writeExports(w, k)
	}
	disable := func(disabled bool, what string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			done(w, r, what, book.SetDisabled(r.Context(), r.PathValue("id"), disabled))
		}
	}
	return func(mux *http.ServeMux) {
		mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
			list, err := book.List(r.Context())
			switch {
			case err != nil:
				refuse(w, err)
			case r.URL.Query().Has("json"):
				writeKeysAsJSON(w, list)
			default:
				writeKeys(w, list)
			}
		})
		mux.HandleFunc("POST /keys", func(w http.ResponseWriter, r *http.Request) {
			lasts, err := durationOf(r, "lasts")
			if err != nil {
				refuse(w, err)
				return
			}
			q := r.URL.Query()
			in := account.New{Account: q.Get("account"), Name: q.Get("name"), Actions: q["action"], Regions: q["region"], Lasts: lasts}
			if in.Account == "" {
				in.Account = defaultAccount
			}
			k, err := book.Add(r.Context(), in)
			issued(w, "add", k, err)
		})
		mux.HandleFunc("POST /keys/{id}/disable", disable(true, "disabled"))
		mux.HandleFunc("POST /keys/{id}/enable", disable(false, "enabled"))
		mux.HandleFunc("DELETE /keys/{id}", func(w http.ResponseWriter, r *http.Request) {
			done(w, r, "removed", book.Remove(r.Context(), r.PathValue("id")))
		})
		mux.HandleFunc("POST /keys/{id}/rotate", func(w http.ResponseWriter, r *http.Request) {
			keep, err := durationOf(r, "keep")
			if err != nil {
				refuse(w, err)
				return
			}
			k, err := book.Rotate(r.Context(), r.PathValue("id"), keep)
			issued(w, "rotation of "+r.PathValue("id"), k, err)
		})
		mux.HandleFunc("POST /keys/{id}/session", func(w http.ResponseWriter, r *http.Request) {
			lasts, err := durationOf(r, "lasts")
			if err != nil {
				refuse(w, err)
				return
			}
			k, err := book.Session(r.Context(), r.PathValue("id"), lasts)
			issued(w, "session of "+r.PathValue("id"), k, err)
		})
	}
}

// durationOf reads a query parameter, 0 for none.
func durationOf(r *http.Request, name string) (time.Duration, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, meeting.Errorf(meeting.CodeBadRequest, "%q is not a duration such as 90m or 24h", text)
	}
	return d, nil
}

// writeExports writes a new key as lines to paste into a shell, or to eval.
func writeExports(w io.Writer, k account.Key) {
	fmt.Fprintf(w, "# Access key %s of account %s; the secret is not shown again.\n", k.ID, k.Account)
	if !k.Expires.IsZero() {
		fmt.Fprintf(w, "# It works until %s.\n", k.Expires.Format(time.RFC3339))
	}
	fmt.Fprintf(w, "export AWS_ACCESS_KEY_ID='%s'\nexport AWS_SECRET_ACCESS_KEY='%s'\n", k.ID, k.Secret.Reveal())
	if k.SessionToken != "" {
		fmt.Fprintf(w, "export AWS_SESSION_TOKEN='%s'\n", k.SessionToken.Reveal())
	} else {
		fmt.Fprintf(w, "unset AWS_SESSION_TOKEN\n")
	}
}

func writeKeysAsJSON(w http.ResponseWriter, list []account.Info) {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(list) // the command line is gone; there is nobody to tell
}

func writeKeys(w io.Writer, list []account.Info) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tACCOUNT\tNAME\tFROM\tSTATE\tCREATED\tEXPIRES\tACTIONS\tREGIONS")
	for _, k := range list {
		from := string(k.From)
		if k.SessionOf != "" {
			from = "session of " + k.SessionOf
		}
		state := k.State
		if k.RotatedTo != "" {
			state += ", rotated to " + k.RotatedTo
		}
		fmt.Fprintln(table, strings.Join([]string{k.ID, k.Account, orDash(k.Name), from, state, dateOf(k.CreatedAt), dateOf(k.Expires),
			orAll(k.Actions), orAll(k.Regions)}, "\t"))
	}
	_ = table.Flush() // the command line is gone; there is nobody to tell
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func orAll(list []string) string {
	if list == nil {
		return "all"
	}
	return strings.Join(list, ",")
}

func dateOf(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// ListKeys has the server that runs on a data directory list its access keys,
// without their secrets.
func ListKeys(ctx context.Context, dataDir string, asJSON bool, out io.Writer) error {
	path := "/keys"
	if asJSON {
		path += "?json"
	}
	return ask(ctx, dataDir, http.MethodGet, path, out)
}

// NewKey is what AddKey takes.
type NewKey = account.New

// AddKey has it make an access key, which is written as lines for a shell. An
// empty account is that of the settings.
func AddKey(ctx context.Context, dataDir string, in NewKey, out io.Writer) error {
	query := url.Values{"account": {in.Account}, "name": {in.Name}, "action": in.Actions, "region": in.Regions, "lasts": {in.Lasts.String()}}
	return ask(ctx, dataDir, http.MethodPost, "/keys?"+query.Encode(), out)
}

// DisableKey has it refuse a key from now on.
func DisableKey(ctx context.Context, dataDir, id string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodPost, keyPath(id)+"/disable", out)
}

// EnableKey is the reverse of DisableKey.
func EnableKey(ctx context.Context, dataDir, id string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodPost, keyPath(id)+"/enable", out)
}

// RemoveKey has it forget a key.
func RemoveKey(ctx context.Context, dataDir, id string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodDelete, keyPath(id), out)
}

// RotateKey has it make a key in the place of another, which works for keep
// longer; the new one is written as lines for a shell.
func RotateKey(ctx context.Context, dataDir, id string, keep time.Duration, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodPost, keyPath(id)+"/rotate?keep="+keep.String(), out)
}

// SessionKey has it make a temporary key of another, written as lines for a
// shell.
func SessionKey(ctx context.Context, dataDir, id string, lasts time.Duration, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodPost, keyPath(id)+"/session?lasts="+lasts.String(), out)
}

func keyPath(id string) string { return "/keys/" + url.PathEscape(id) }
