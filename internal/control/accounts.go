package control

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"text/tabwriter"

	"belfry/internal/account"
	"belfry/internal/meeting"
)

// Accounts tells what accounts may use and use, and changes it.
func Accounts(service *meeting.Service, keys *account.Book, log *slog.Logger) Commands {
	return func(mux *http.ServeMux) {
		mux.HandleFunc("GET /accounts", func(w http.ResponseWriter, r *http.Request) {
			known, err := service.AccountsWithQuotas(r.Context())
			if err != nil {
				refuse(w, err)
				return
			}
			with, err := keys.List(r.Context())
			if err != nil {
				refuse(w, err)
				return
			}
			for _, k := range with {
				if k.Account != "" { // else the key cannot be read
					known = append(known, k.Account)
				}
			}
			disabled, err := keys.DisabledAccounts(r.Context())
			if err != nil {
				refuse(w, err)
				return
			}
			listAccounts(r.Context(), w, service, append(known, disabled...), disabled)
		})
		one := func(change func(*http.Request, string) error) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				id := r.PathValue("account")
				if !account.ValidAccount(id) {
					refuse(w, meeting.Errorf(meeting.CodeBadRequest, "%q is not an account: it has 12 digits", id))
					return
				}
				if err := change(r, id); err != nil {
					refuse(w, err)
					return
				}
				showAccount(r.Context(), w, service, id)
			}
		}
		mux.HandleFunc("GET /accounts/{account}", one(func(*http.Request, string) error { return nil }))
		mux.HandleFunc("POST /accounts/{account}", one(func(r *http.Request, id string) error {
			values := map[string]int{}
			for name, texts := range r.URL.Query() {
				value, err := strconv.Atoi(texts[len(texts)-1])
				if err != nil {
					return meeting.Errorf(meeting.CodeBadRequest, "%s: %q is not a whole number", name, texts[len(texts)-1])
				}
				values[name] = value
			}
			if err := service.SetQuotas(r.Context(), id, values); err != nil {
				return err
			}
			log.Info("quotas set", "account", id, "quotas", values)
			return nil
		}))
		mux.HandleFunc("DELETE /accounts/{account}", one(func(r *http.Request, id string) error {
			names := r.URL.Query()["quota"]
			if err := service.ResetQuotas(r.Context(), id, names...); err != nil {
				return err
			}
			log.Info("quotas reset", "account", id, "quotas", names)
			return nil
		}))
		for what, disabled := range map[string]bool{"disable": true, "enable": false} {
			mux.HandleFunc("POST /accounts/{account}/"+what, func(w http.ResponseWriter, r *http.Request) {
				id := r.PathValue("account")
				if err := keys.SetAccountDisabled(r.Context(), id, disabled); err != nil {
					refuse(w, err)
					return
				}
				log.Info("account "+what+"d", "account", id)
				fmt.Fprintf(w, "Account %s is %sd\n", id, what)
			})
		}
	}
}

func listAccounts(ctx context.Context, w http.ResponseWriter, service *meeting.Service, known, disabled []string) {
	slices.Sort(known)
	for _, id := range slices.Compact(known) {
		a, err := service.AccountQuotas(ctx, id)
		if err != nil {
			refuse(w, err)
			return
		}
		fmt.Fprintf(w, "%s  %d meetings", id, a.Meetings)
		if slices.Contains(disabled, id) {
			fmt.Fprint(w, "  disabled")
		}
		for _, name := range slices.Sorted(maps.Keys(a.Own)) {
			fmt.Fprintf(w, "  %s=%d", name, a.Own[name])
		}
		fmt.Fprintln(w)
	}
}

func showAccount(ctx context.Context, w http.ResponseWriter, service *meeting.Service, id string) {
	a, err := service.AccountQuotas(ctx, id)
	if err != nil {
		refuse(w, err)
		return
	}
	fmt.Fprintf(w, "Account %s has %d meetings.\n\n", id, a.Meetings)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, k := range meeting.AllQuotas {
		value, from := strconv.Itoa(k.Of(a.Quotas)), "settings"
		if k.Unlimited(k.Of(a.Quotas)) {
			value = "no limit"
		}
		if _, own := a.Own[k.Name]; own {
			from = "its own"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", k.Name, value, from, k.About)
	}
	_ = table.Flush() // the command line is gone; there is nobody to tell
}

// ListAccounts has the server that runs on a data directory list the accounts
// that have access keys or quotas of their own, with what they use.
func ListAccounts(ctx context.Context, dataDir string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodGet, "/accounts", out)
}

// ShowAccount has it show what one account may use.
func ShowAccount(ctx context.Context, dataDir, id string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodGet, accountPath(id, nil), out)
}

// SetAccountQuotas gives an account quotas of its own, which hold at once.
func SetAccountQuotas(ctx context.Context, dataDir, id string, values map[string]string, out io.Writer) error {
	query := url.Values{}
	for name, value := range values {
		query.Set(name, value)
	}
	return ask(ctx, dataDir, http.MethodPost, accountPath(id, query), out)
}

// ResetAccountQuotas takes quotas of its own from an account, all when none is
// named.
func ResetAccountQuotas(ctx context.Context, dataDir, id string, names []string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodDelete, accountPath(id, url.Values{"quota": names}), out)
}

// DisableAccount has it refuse every request of an account from now on.
func DisableAccount(ctx context.Context, dataDir, id string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodPost, "/accounts/"+url.PathEscape(id)+"/disable", out)
}

// EnableAccount is the reverse of DisableAccount.
func EnableAccount(ctx context.Context, dataDir, id string, out io.Writer) error {
	return ask(ctx, dataDir, http.MethodPost, "/accounts/"+url.PathEscape(id)+"/enable", out)
}

func accountPath(id string, query url.Values) string {
	return "/accounts/" + url.PathEscape(id) + "?" + query.Encode()
}
