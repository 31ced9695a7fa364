# All of Larder: `docker build -t larder .`; with `--build-arg FEATURES=--no-default-features` an image that
# only serves and publishes.
#
# cargo-chef builds the dependencies in a layer of their own, which a change of src does not rebuild.
# cargo-auditable puts the list of all crates into the program, so that scanners (Trivy, Grype, Syft,
# `cargo audit bin`) find vulnerable versions in the image, and in a copy of the program without its image.
FROM rust:1.95-bookworm AS tools
RUN cargo install --locked cargo-chef@0.1.78 cargo-auditable@0.7.7
WORKDIR /larder

FROM tools AS plan
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
COPY benches benches
RUN cargo chef prepare --bin larder --recipe-path recipe.json

FROM tools AS build
ARG FEATURES="--features delta"
COPY --from=plan /larder/recipe.json recipe.json
RUN cargo chef cook --locked --release --bin larder $FEATURES --recipe-path recipe.json
COPY Cargo.toml Cargo.lock build.rs larder.example.toml ./
COPY src src
COPY benches benches
COPY openapi openapi
COPY console console
RUN cargo auditable build --locked --release --bin larder $FEATURES && strip target/release/larder

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 larder \
    && useradd --system --uid 10001 --gid larder --create-home --home-dir /var/lib/larder larder
COPY --from=build /larder/target/release/larder /usr/local/bin/larder
# By number, so that Kubernetes sees that this is not root.
USER 10001:10001
WORKDIR /var/lib/larder
EXPOSE 8080
# The shell asks, so that the image needs no HTTP client. With TLS, replace this check.
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 \
    && grep -q '^HTTP/1.. 200 ' <&3"]
CMD ["larder", "serve", "--listen", "0.0.0.0:8080"]
