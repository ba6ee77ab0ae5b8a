//! How the image of a registry is named, and who we are there.

use testcontainers::bollard::auth::DockerCredentials;

/// What Docker takes an image without a registry to come from.
const DEFAULT_REGISTRY: &str = "https://index.docker.io/v1/";

/// Splits `name:tag`, and `name@sha256:…` with or without a tag, into what is pulled and which one of it:
/// a digest says more than a tag does. An image without either is the latest.
pub(super) fn name_and_tag(image: &str) -> (&str, &str) {
    match image.split_once('@') {
        Some((tagged, digest)) => (around_the_last_colon(tagged).0, digest),
        None => around_the_last_colon(image),
    }
}

/// Splits an image into two parts that a colon joins again, for who asks for it in that way: with a
/// digest, the second is no more than the end of it.
pub(super) fn around_the_last_colon(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        // A colon before the last slash is that of a registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

/// What the person who started us told Docker of the registry of `image`, where they did.
pub(super) async fn credentials(image: &str) -> Option<DockerCredentials> {
    let registry = registry(image).to_owned();
    // Reads files, and may run a helper.
    let found = tokio::task::spawn_blocking(move || {
        let credential = docker_credential::get_credential(&registry).ok()?;
        let serveraddress = Some(registry);
        Some(match credential {
            docker_credential::DockerCredential::IdentityToken(token) => DockerCredentials {
                identitytoken: Some(token),
                serveraddress,
                ..DockerCredentials::default()
            },
            docker_credential::DockerCredential::UsernamePassword(username, password) => {
                DockerCredentials {
                    username: Some(username),
                    password: Some(password),
                    serveraddress,
                    ..DockerCredentials::default()
                }
            }
        })
    });
    found.await.ok().flatten()
}

fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => DEFAULT_REGISTRY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_follows_the_last_colon_that_is_not_of_a_port() {
        assert_eq!(name_and_tag("redis:7-alpine"), ("redis", "7-alpine"));
        assert_eq!(name_and_tag("gauntlet-test/redis"), ("gauntlet-test/redis", "latest"));
        let within = "registry.internal:5000/mirror/redis";
        assert_eq!(name_and_tag(within), (within, "latest"));
        assert_eq!(name_and_tag(&format!("{within}:7")), (within, "7"));
    }

    #[test]
    fn a_digest_stands_in_for_a_tag_and_goes_before_one() {
        assert_eq!(name_and_tag("redis@sha256:abc"), ("redis", "sha256:abc"));
        assert_eq!(name_and_tag("redis:7@sha256:abc"), ("redis", "sha256:abc"));
        let within = "mirror:5000/redis";
        assert_eq!(name_and_tag(&format!("{within}:7@sha256:abc")), (within, "sha256:abc"));
        assert_eq!(name_and_tag(&format!("{within}@sha256:abc")), (within, "sha256:abc"));
    }

    #[test]
    fn two_parts_make_the_image_again() {
        for image in ["redis:7", "redis@sha256:abc", "mirror:5000/redis:7@sha256:abc"] {
            let (name, tag) = around_the_last_colon(image);
            assert_eq!(format!("{name}:{tag}"), image);
        }
        assert_eq!(around_the_last_colon("mirror:5000/redis"), ("mirror:5000/redis", "latest"));
    }

    #[test]
    fn a_registry_is_a_host() {
        assert_eq!(registry("registry.internal/redis:7"), "registry.internal");
        assert_eq!(registry("localhost/redis"), "localhost");
        assert_eq!(registry("mirror:5000/redis"), "mirror:5000");
        assert_eq!(registry("bitnami/redis"), DEFAULT_REGISTRY);
        assert_eq!(registry("redis"), DEFAULT_REGISTRY);
    }
}
