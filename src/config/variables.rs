//! The table of all environment variables. `--help` and the documentation are made from it; it must not read any.

/// Every variable: name, default, description.
pub const VARIABLES: &[(&str, &str, &str)] = &[
    ("HOST", "127.0.0.1", "Address to listen on; 0.0.0.0 or :: for all."),
    ("PORT", "8080", "Port to listen on; 0 takes a free one."),
    (
        "OPS_ADDRESS",
        "none",
        "Address and port, such as 0.0.0.0:9090, where health checks and metrics are answered too; workers have no other.",
    ),
    ("DATA_DIR", "./data", "Folder of the embedded database, files and keys."),
    ("DATABASE_URL", "SQLite in DATA_DIR", "PostgreSQL 15 or newer (postgres://…), so that several processes can work together."),
    ("DATABASE_POOL", "16", "Most connections of one process to PostgreSQL (2 to 500)."),
    ("REDIS_URL", "in process", "Redis 7 or newer (redis://… or rediss://…): events, limits and caches between processes."),
    ("REDIS_PREFIX", "claimwright", "What keys and channels in Redis begin with, so that several installations can share a server."),
    ("S3_BUCKET", "files in DATA_DIR", "Bucket for files; credentials and region come from AWS_* as usual."),
    ("S3_ENDPOINT_URL", "AWS", "Base URL of a service that is compatible with S3 (with S3_BUCKET)."),
    (
        "S3_ADDRESSING",
        "path with S3_ENDPOINT_URL, else virtual",
        "path (…/bucket/key) or virtual (bucket.…/key): how a bucket is addressed.",
    ),
    ("S3_ENCRYPTION", "the bucket's own", "Server-side encryption of what is stored: AES256, aws:kms, or aws:kms:KEY for a key of yours."),
    ("S3_LIFECYCLE", "on", "on or off: whether the bucket is told to expire exports and uploads; other rules of the bucket stay."),
    ("PUBLIC_URL", "http://HOST:PORT", "Base URL at which clients reach this server, without a path; links begin with it."),
    ("FRONTEND_URL", "the playground's own", "Origins of browser applications that may call the API, separated by commas."),
    ("COGNITO_USER_POOL_ID", "the local issuer", "User pool of AWS Cognito whose tokens are accepted, such as eu-west-2_AbCdEf123."),
    ("COGNITO_CLIENT_ID", "none", "App clients of the pool whose tokens are accepted, separated by commas."),
    ("COGNITO_ISSUER_URL", "from AWS_REGION and the pool", "Exact issuer of the tokens, where it is not AWS's own."),
    ("COGNITO_JWKS_URL", "issuer + /.well-known/jwks.json", "Where the issuer's public keys are, if elsewhere."),
    ("AWS_REGION", "from the pool's id", "Region of the user pool and of the bucket."),
    (
        "ALLOW_LOCAL_ISSUER",
        "off",
        "on lets the local token issuer serve another address than loopback: whoever has DATA_DIR can make tokens.",
    ),
    ("RATE_LIMIT_PER_SECOND", "0", "Cost points that a person gets back each second; 0 means no limit."),
    ("RATE_LIMIT_BURST", "20 times RATE_LIMIT_PER_SECOND", "Most cost points that a person can save up; 0 means no limit."),
    (
        "REGISTERED_DOCUMENTS",
        "any document may run",
        "Documents that alone may run: a folder of .graphql files with one document each, or a JSON file whose values are documents.",
    ),
    (
        "TRUSTED_PROXIES",
        "none",
        "Addresses and networks of proxies in front of this server, such as 10.0.0.0/8, separated by commas: the client's address is \
         taken from their X-Forwarded-For.",
    ),
    (
        "MAX_CONNECTIONS",
        "12000",
        "Most connections that one process holds, sockets included (1 to 1000000); each is an open file, and who comes beyond waits.",
    ),
    ("MAX_SOCKETS", "10000", "Most sockets that one process holds (1 to 1000000); each is an open file."),
    ("MAX_SOCKETS_PER_PERSON", "50", "Most sockets of a person in one process (1 to 100000)."),
    ("MAX_STREAMS", "50000", "Most running subscriptions in one process, over sockets and event streams (1 to 10000000)."),
    ("MAX_STREAMS_PER_PERSON", "200", "Most running subscriptions of a person in one process (1 to 100000)."),
    ("SOCKET_INIT_TIMEOUT", "5", "Seconds from opening a socket to its connection_init (1 to 300)."),
    (
        "AI_PROVIDER",
        "offline",
        "What writes narratives: offline (composes them from the facts, without a model), openai (any endpoint with OpenAI's chat completions) \
         or bedrock (AWS).",
    ),
    (
        "AI_BASE_URL",
        "https://api.openai.com/v1",
        "Endpoint up to /chat/completions; Azure: https://NAME.openai.azure.com/openai/deployments/{model}?api-version=2024-10-21. With \
         bedrock: its base URL, if not AWS's own.",
    ),
    ("AI_API_KEY", "none", "Key of the endpoint; servers of your own may need none. Bedrock takes AWS_* instead."),
    ("AI_MODEL", "all of AI_MODELS_FILE", "Models that may be used, separated by commas, the default one first, such as gpt-4.1-mini."),
    (
        "AI_MODELS_FILE",
        "a built-in table",
        "JSON file of models with prices in dollars and sizes (docs/providers.md); models that are in no list are counted as free.",
    ),
    ("AI_GUARDRAIL", "none", "Guardrail of Bedrock and its version, such as gr1234abcd:1."),
    (
        "AI_REQUESTS_PER_MINUTE",
        "0",
        "Requests that the provider may be sent in a minute, by all processes if they share Redis; 0 means no limit.",
    ),
    ("AI_TOKENS_PER_MINUTE", "0", "Tokens in a minute, both directions, of all processes if they share Redis; 0 means no limit."),
    ("AI_CONCURRENCY", "8", "Calls to the provider at the same time, of all processes if they share Redis (1 to 1024)."),
    ("AI_TIMEOUT", "90", "Seconds that the first piece of an answer may take."),
    ("AI_IDLE_TIMEOUT", "30", "Seconds between two pieces of an answer."),
    (
        "MASK_PERSONAL_DATA",
        "on",
        "on or off: whether names, email addresses and telephone numbers of people are replaced by placeholders before they leave.",
    ),
    (
        "AI_REDRAFT",
        "on",
        "on or off: whether a section that breaks a blocking rule is written once more, with what was found, before a person sees it. \
         The offline provider would write the same again, and does not.",
    ),
    ("OFFLINE_DELAY_MS", "0", "Milliseconds that the offline provider takes for a section, so that progress can be watched."),
    ("WORKER_CONCURRENCY", "twice the cores, at least 4", "Jobs that one process does at the same time (1 to 1024)."),
    ("SHUTDOWN_GRACE", "25", "Seconds that requests and jobs in flight have to end after SIGTERM."),
    ("JOB_BEAT_MS", "10000", "Milliseconds between two signs of life of a worker process."),
    ("JOB_DEAD_AFTER_MS", "45000", "Milliseconds without a sign of life after which its jobs go to others; at least two beats."),
    ("INTROSPECTION", "on; off with Cognito", "on or off: whether the schema can be asked for."),
    ("PLAYGROUND", "on; off with Cognito", "on or off: whether / serves the playground."),
    ("LOG_FORMAT", "text", "text or json; logs go to stderr and hold no tokens, variables or narratives."),
    ("RUST_LOG", "warn", "What is logged, such as info or claimwright=debug."),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "none", "Where traces are sent by OTLP over HTTP, such as http://collector:4318."),
    ("OTEL_SERVICE_NAME", "claimwright", "Name of the service in traces."),
    ("CLAIMWRIGHT_URL", "the local server", "Server that import, watch and healthcheck talk to."),
    ("CLAIMWRIGHT_TOKEN", "a token from DATA_DIR", "Bearer token for import and watch; with Cognito there is no other."),
];

/// The variables, one a paragraph, for `--help`.
#[must_use]
pub fn help() -> String {
    let mut text = String::from("Environment variables:\n");
    for (name, default, description) in VARIABLES {
        text.extend(["  ", name, " [default: ", default, "]\n      ", description, "\n"]);
    }
    text
}
