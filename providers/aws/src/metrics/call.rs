//! Signed calls to CloudWatch. Out goes JSON; in comes a page, or an error in the SDK's own form, so that it is classified
//! like every other. The SDK of CloudWatch itself is not used: it speaks CBOR, which few stand-ins for AWS understand, and
//! two calls are not worth its build.

use super::wire::TARGET;
use aws_config::SdkConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::auth::{SigV4OperationSigningConfig, sigv4};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{AuthSchemeOptionResolverParams, SharedAuthScheme};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use contract::ProviderError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// The largest answer; one query over minutes is a thousandth of it, a hundred alarms a twentieth.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// A call, ready to be made any number of times.
pub(super) type Call<T> = Operation<String, T, Refusal>;

/// What CloudWatch says instead of an answer.
#[derive(Debug)]
pub(super) struct Refusal(ErrorMetadata);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refusal {}

impl ProvideErrorMetadata for Refusal {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// Makes the frame of CloudWatch's call `name` from an account's configuration. No request is made.
pub(super) fn call<T>(config: &SdkConfig, name: &'static str) -> Result<Call<T>, ProviderError>
where
    T: DeserializeOwned + fmt::Debug + Send + Sync + 'static,
{
    let invalid = |what: &str| ProviderError::Invalid { what: what.into() };
    let region = config.region().ok_or_else(|| invalid("region: it is missing"))?;
    let endpoint = match config.endpoint_url() {
        Some(url) => url.to_owned(),
        None => endpoint(region.as_ref()),
    };
    let mut builder = Operation::builder()
        .service_name("CloudWatch")
        .operation_name(name)
        .endpoint_url(&endpoint)
        .no_retry()
        .runtime_plugin(signing(SigningRegion::from(region.clone()), config.credentials_provider()))
        .with_connection_poisoning();
    if let Some(client) = config.http_client() {
        builder = builder.http_client(client);
    }
    if let Some(timeouts) = config.timeout_config() {
        builder = builder.timeout_config(timeouts.clone());
    }
    if let Some(sleep) = config.sleep_impl() {
        builder = builder.sleep_impl(sleep);
    }
    if let Some(time) = config.time_source() {
        builder = builder.time_source(time);
    }
    Ok(builder.serializer(move |body| serialize(name, body)).deserializer(deserialize).build())
}

fn endpoint(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://monitoring.{region}.{suffix}")
}

/// Signs with the account's credentials, which are kept until they expire.
fn signing(region: SigningRegion, credentials: Option<SharedCredentialsProvider>) -> StaticRuntimePlugin {
    let mut layer = Layer::new("CloudWatch");
    layer.store_put(SigningName::from_static("monitoring"));
    layer.store_put(region);
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig::default());
    let mut components = RuntimeComponentsBuilder::new("CloudWatch")
        .with_auth_scheme(SharedAuthScheme::new(sigv4::SigV4AuthScheme::new()))
        .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![sigv4::SCHEME_ID])))
        .with_identity_cache(Some(IdentityCache::lazy().load_timeout(super::CREDENTIALS_WITHIN).build()));
    if let Some(credentials) = credentials {
        components.set_identity_resolver(sigv4::SCHEME_ID, credentials);
    }
    StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components)
}

fn serialize(name: &str, body: String) -> Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("POST")?;
    request.set_uri("/")?;
    request.headers_mut().try_insert("content-type", "application/x-amz-json-1.0")?;
    request.headers_mut().try_insert("x-amz-target", format!("{TARGET}.{name}"))?;
    Ok(request)
}

fn deserialize<T: DeserializeOwned>(response: &HttpResponse) -> Result<T, OrchestratorError<Refusal>> {
    let bytes = response.body().bytes().ok_or_else(|| OrchestratorError::response("the answer was not read".into()))?;
    if bytes.len() > ANSWER_MAX {
        return Err(OrchestratorError::response(format!("the answer is larger than {ANSWER_MAX} bytes").into()));
    }
    if !response.status().is_success() {
        return Err(OrchestratorError::operation(refusal(response, bytes)));
    }
    serde_json::from_slice(bytes).map_err(|error| OrchestratorError::response(error.into()))
}

/// An error as this protocol writes it; a body in another tongue leaves it without a code.
fn refusal(response: &HttpResponse, bytes: &[u8]) -> Refusal {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "__type")]
        kind: String,
        #[serde(default, alias = "Message")]
        message: Option<String>,
    }
    let mut meta = ErrorMetadata::builder();
    if let Ok(body) = serde_json::from_slice::<Body>(bytes) {
        // The older protocol's code, where it differs, is the one that everybody knows.
        let query_code = response.headers().get("x-amzn-query-error").and_then(|header| header.split(';').next());
        let own_code = body.kind.rsplit('#').next().unwrap_or_default();
        meta = meta.code(query_code.filter(|code| !code.is_empty()).unwrap_or(own_code));
        meta = meta.message(body.message.unwrap_or_default());
    }
    Refusal(meta.build())
}
