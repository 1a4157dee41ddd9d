package main

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"strings"
	"time"

	"github.com/snowflakedb/gosnowflake"
	"github.com/youmark/pkcs8"
)

// options are the keys of [snowflake] (src/snowmelt/config.h), by the same names.
type options struct {
	Account       string `json:"account"`
	User          string `json:"user"`
	Password      string `json:"password"`
	Authenticator string `json:"authenticator"`
	Database      string `json:"database"`
	Schema        string `json:"schema"`
	Warehouse     string `json:"warehouse"`
	Role          string `json:"role"`

	PrivateKeyFile    string `json:"private_key_file"`
	PrivateKeyFilePwd string `json:"private_key_file_pwd"`
	Token             string `json:"token"`
	TokenFilePath     string `json:"token_file_path"`
	Passcode          string `json:"passcode"`

	OAuthClientID         string `json:"oauth_client_id"`
	OAuthClientSecret     string `json:"oauth_client_secret"`
	OAuthAuthorizationURL string `json:"oauth_authorization_url"`
	OAuthTokenRequestURL  string `json:"oauth_token_request_url"`
	OAuthRedirectURI      string `json:"oauth_redirect_uri"`
	OAuthScope            string `json:"oauth_scope"`

	WorkloadIdentityProvider      string `json:"workload_identity_provider"`
	WorkloadIdentityEntraResource string `json:"workload_identity_entra_resource"`

	Host          string `json:"host"`
	Port          int    `json:"port"`
	Protocol      string `json:"protocol"`
	ProxyHost     string `json:"proxy_host"`
	ProxyPort     int    `json:"proxy_port"`
	ProxyUser     string `json:"proxy_user"`
	ProxyPassword string `json:"proxy_password"`
	NoProxy       string `json:"no_proxy"`

	LoginTimeout                   int  `json:"login_timeout"`
	ExternalBrowserTimeout         int  `json:"external_browser_timeout"`
	ClientSessionKeepAlive         bool `json:"client_session_keep_alive"`
	ClientStoreTemporaryCredential bool `json:"client_store_temporary_credential"`

	// False: only what is kept in the cache may log in; where a person would have to act, the login ends (person_needed).
	AskPerson bool `json:"ask_person"`

	SessionParameters map[string]string `json:"session_parameters"`

	fileToken string // of TokenFilePath, to be cut out of messages
}

// parseOptions refuses what it does not know: a TLS or revocation key that is silently dropped weakens a connection.
func parseOptions(text []byte) (*options, error) {
	o := options{LoginTimeout: 60, ExternalBrowserTimeout: 120, Protocol: "https", AskPerson: true}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		return nil, configurationError("", "connection options: %v", err)
	}
	return &o, nil
}

func (o *options) secrets() []string {
	return []string{o.Password, o.PrivateKeyFilePwd, o.Token, o.Passcode, o.ProxyPassword, o.OAuthClientSecret, o.fileToken}
}

var authenticators = map[string]gosnowflake.AuthType{
	"":                          gosnowflake.AuthTypeSnowflake,
	"snowflake":                 gosnowflake.AuthTypeSnowflake,
	"snowflake_jwt":             gosnowflake.AuthTypeJwt,
	"externalbrowser":           gosnowflake.AuthTypeExternalBrowser,
	"oauth":                     gosnowflake.AuthTypeOAuth,
	"programmatic_access_token": gosnowflake.AuthTypePat,
	"username_password_mfa":     gosnowflake.AuthTypeUsernamePasswordMFA,
	"oauth_authorization_code":  gosnowflake.AuthTypeOAuthAuthorizationCode,
	"oauth_client_credentials":  gosnowflake.AuthTypeOAuthClientCredentials,
	"workload_identity":         gosnowflake.AuthTypeWorkloadIdentityFederation,
}

func needsBrowser(method gosnowflake.AuthType) bool {
	return method == gosnowflake.AuthTypeExternalBrowser || method == gosnowflake.AuthTypeOAuthAuthorizationCode
}

func (o *options) driverConfig(hook *transport) (*gosnowflake.Config, error) {
	config := &gosnowflake.Config{
		Account: o.Account, User: o.User, Password: o.Password, Database: o.Database, Schema: o.Schema,
		Warehouse: o.Warehouse, Role: o.Role, Host: o.Host, Port: o.Port, Protocol: o.Protocol,
		Token: o.Token, Passcode: o.Passcode,
		OauthClientID: o.OAuthClientID, OauthClientSecret: o.OAuthClientSecret,
		OauthAuthorizationURL: o.OAuthAuthorizationURL, OauthTokenRequestURL: o.OAuthTokenRequestURL,
		OauthRedirectURI: o.OAuthRedirectURI, OauthScope: o.OAuthScope,
		WorkloadIdentityProvider:      o.WorkloadIdentityProvider,
		WorkloadIdentityEntraResource: o.WorkloadIdentityEntraResource,
		LoginTimeout:                  time.Duration(o.LoginTimeout) * time.Second,
		ExternalBrowserTimeout:        time.Duration(o.ExternalBrowserTimeout) * time.Second,
		Application:                   "snowmelt",
		DisableTelemetry:              true, // it would send a stack trace of every error
		DisableQueryContextCache:      true, // read without its lock by parallel statements
		Params:                        map[string]*string{},
		Transporter:                   hook,
	}
	if o.Port == 0 && o.Protocol == "http" {
		config.Port = 80
	}
	for name, value := range o.SessionParameters {
		config.Params[name] = &value
	}
	keepAlive := "false"
	if o.ClientSessionKeepAlive {
		keepAlive = "true"
	}
	config.Params["client_session_keep_alive"] = &keepAlive // the driver looks for the lower-case name
	config.ClientStoreTemporaryCredential = configBool(o.ClientStoreTemporaryCredential)
	// Only there: a server takes a password login that asks for a token for one with a second factor.
	mfa := authenticators[strings.ToLower(o.Authenticator)] == gosnowflake.AuthTypeUsernamePasswordMFA
	config.ClientRequestMfaToken = configBool(o.ClientStoreTemporaryCredential && mfa)
	if o.TokenFilePath != "" && o.Token == "" { // at each login: such files are renewed
		token, err := readSecret("token_file_path", o.TokenFilePath)
		if err != nil {
			return nil, err
		}
		o.fileToken = strings.TrimSpace(string(token))
		config.Token = o.fileToken
	}
	return config, o.setMethod(config)
}

func configBool(value bool) gosnowflake.ConfigBool {
	if value {
		return gosnowflake.ConfigBoolTrue
	}
	return gosnowflake.ConfigBoolFalse
}

func (o *options) setMethod(config *gosnowflake.Config) error {
	method, known := authenticators[strings.ToLower(o.Authenticator)]
	if !known {
		address, err := url.Parse(o.Authenticator)
		if err != nil || address.Scheme != "https" {
			return configurationError("authenticator", "authenticator %q is not known", o.Authenticator)
		}
		method, config.OktaURL = gosnowflake.AuthTypeOkta, address
	}
	config.Authenticator = method
	if method == gosnowflake.AuthTypeOAuthAuthorizationCode && o.OAuthClientID == "" && o.OAuthClientSecret == "" {
		// The client that Snowflake keeps for everybody; the driver knows it too but asks for one before it gets there.
		config.OauthClientID, config.OauthClientSecret = "LOCAL_APPLICATION", "LOCAL_APPLICATION"
	}
	if method != gosnowflake.AuthTypeJwt {
		return nil
	}
	var err error
	config.PrivateKey, err = o.privateKey()
	return err
}

func (o *options) privateKey() (*rsa.PrivateKey, error) {
	text, err := readSecret("private_key_file", o.PrivateKeyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, configurationError("private_key_file", "%s is not a PEM file", o.PrivateKeyFile)
	}
	var parsed any
	switch block.Type {
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		if o.PrivateKeyFilePwd == "" {
			return nil, configurationError("private_key_file_pwd", "%s is encrypted and no password for it is given", o.PrivateKeyFile)
		}
		if parsed, err = pkcs8.ParsePKCS8PrivateKey(block.Bytes, []byte(o.PrivateKeyFilePwd)); err != nil {
			return nil, configurationError("private_key_file_pwd", "%s cannot be decrypted: %v", o.PrivateKeyFile, err)
		}
	default:
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, configurationError("private_key_file", "%s holds no private key: %v", o.PrivateKeyFile, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, configurationError("private_key_file", "%s holds a %T, Snowflake wants RSA", o.PrivateKeyFile, parsed)
	}
	return key, nil
}
