# syntax=docker/dockerfile:1
# One image for every role: `docker run … claimwright api`, `worker`, `migrate`, `serve`. What it is told stands in
# docs/operations.md; compose.yaml is an example of everything together.

# The playground, which the binary embeds.
FROM node:22-bookworm-slim AS playground
WORKDIR /build/playground
COPY playground/package.json playground/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund --ignore-scripts
COPY playground/ ./
RUN npm run build

# The binary. The caches outlive a build, so a change of the source builds one crate and not five hundred.
FROM rust:1.95-bookworm AS build
# the toolchain of the image, not the one that rust-toolchain.toml would download
ENV RUSTUP_TOOLCHAIN=1.95.0 CARGO_TARGET_DIR=/target
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY crates/ crates/
COPY migrations/ migrations/
COPY prompts/ prompts/
COPY src/ src/
COPY --from=playground /build/playground/dist/ playground/dist/
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target \
    cargo build --release --locked --bin claimwright \
    && install -D --strip /target/release/claimwright /image/usr/local/bin/claimwright \
    && install -d -m 0700 /image/data

# Certificates, the C library, a user without rights; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build --chown=65532:65532 /image/ /
# all addresses of the container; the process refuses that with the local issuer unless ALLOW_LOCAL_ISSUER=on
ENV HOST=0.0.0.0 PORT=8080 DATA_DIR=/data LOG_FORMAT=json
WORKDIR /data
USER 65532:65532
VOLUME /data
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# asks OPS_ADDRESS where it is set (workers have no other), else HOST and PORT
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/local/bin/claimwright", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/claimwright"]
CMD ["serve"]
