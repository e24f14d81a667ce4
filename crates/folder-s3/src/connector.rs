//! The way from the SDK to the service without a socket. It owns nothing but the translation of requests and responses.

use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use http::{HeaderValue, header::HOST};
use s3s::{Body, service::S3Service};

/// An HTTP client whose only server is the service.
#[derive(Debug, Clone)]
pub struct InProcess(S3Service);

impl InProcess {
    pub const fn new(service: S3Service) -> Self {
        Self(service)
    }
}

impl HttpClient for InProcess {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let service = self.0.clone();
        HttpConnectorFuture::new(async move {
            let mut request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            // A socket's client would add the header that the signature covers.
            if !request.headers().contains_key(HOST) {
                let host = request.uri().authority().map_or("", |authority| authority.as_str());
                let host = HeaderValue::from_str(host).map_err(|error| ConnectorError::user(error.into()))?;
                request.headers_mut().insert(HOST, host);
            }
            let response = service.call(request.map(Body::http_body)).await;
            let response = response.map_err(|error| ConnectorError::other(error.into(), None))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x)).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
