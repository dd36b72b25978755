#![expect(missing_docs, reason = "the names of the cases say it")]

use super::{Subject, pod::Pod};
use crate::{Error, ImageSpec};

pub async fn an_image_that_is_there_is_found(subject: Subject) {
    let spec = ImageSpec::new(&subject.image);
    if subject.capabilities.pull {
        let pulled = subject.runtime.pull_image(&spec, None, None).await.expect("a pulled image");
        assert!(!pulled.as_str().is_empty());
        let by_ref = subject.runtime.image_status(&ImageSpec::new(pulled.as_str())).await.expect("a status");
        assert!(by_ref.is_some(), "it is found by what the pull gave back");
    }
    let image = subject.runtime.image_status(&spec).await.expect("a status").expect("the image");
    let listed = subject.runtime.list_images().await.expect("a list");
    assert!(listed.iter().any(|other| other.id == image.id));
    for usage in subject.runtime.image_fs_info().await.expect("figures") {
        assert!(!usage.mountpoint.as_os_str().is_empty());
    }
}

pub async fn an_image_that_is_not_there_is_refused(subject: Subject) {
    subject.runtime.remove_image(&ImageSpec::new("localhost/no-such-image:1")).await.expect("no error");
    if !subject.capabilities.images {
        return;
    }
    let missing = ImageSpec::new("localhost/no-such-image:1");
    assert_eq!(subject.runtime.image_status(&missing).await.expect("a status"), None);
    let pod = Pod::run(&subject, "imageless").await;
    let mut config = pod.container("main", "exit 0");
    config.image = missing;
    let error = pod.create(&config).await.expect_err("there is no such image");
    assert!(matches!(error, Error::ImageNotFound { .. }), "{error:?}");
    pod.remove().await;
}
