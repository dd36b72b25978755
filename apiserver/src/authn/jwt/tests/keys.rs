//! Keys that change, grow old, or can't be had.

use super::*;

#[tokio::test]
async fn keys_are_rotated_and_grow_old() {
    let test = test(BY_CLAIMS);
    assert!(test.ask(&claims()).await.unwrap().is_some());
    let next = SigningKey::generate().unwrap();
    *test.site.keys.lock().unwrap() = vec![next.verifying_key().jwk()];
    let rotated = token(&next, "ES256", &claims());
    // A second has not passed since the last fetch.
    assert!(test.ask_token(&rotated).await.is_err());
    test.clock.0.fetch_add(1, Ordering::Relaxed);
    assert!(test.ask_token(&rotated).await.unwrap().is_some());
    // The key that was taken away is not believed any more.
    assert!(test.ask(&claims()).await.is_err());
    // Floods of strangers' tokens are one fetch a second.
    let before = test.site.fetches.load(Ordering::Relaxed);
    test.clock.0.fetch_add(1, Ordering::Relaxed);
    for _ in 0..50 {
        assert!(test.ask(&claims()).await.is_err());
    }
    assert_eq!(test.site.fetches.load(Ordering::Relaxed), before + 1);
    // An issuer that is away does not lock its users out, and keys are looked after when it is back.
    test.site.away.store(true, Ordering::Relaxed);
    test.clock.0.fetch_add(3600, Ordering::Relaxed);
    let mut later = claims();
    later["exp"] = (NOW + 7200).into();
    let later = token(&next, "ES256", &later);
    assert!(test.ask_token(&later).await.unwrap().is_some());
    test.site.away.store(false, Ordering::Relaxed);
    test.site.keys.lock().unwrap().clear();
    test.clock.0.fetch_add(1, Ordering::Relaxed);
    assert!(test.ask_token(&later).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_locks_nobody_out() {
    let test = test(BY_CLAIMS);
    let mut claims = claims();
    claims["exp"] = (NOW + 7200).into();
    assert!(test.ask(&claims).await.unwrap().is_some());
    test.site.hangs.store(true, Ordering::Relaxed);
    test.clock.0.fetch_add(3600, Ordering::Relaxed);
    let begun = tokio::time::Instant::now();
    let asked = futures::future::join_all((0..20).map(|_| test.ask(&claims))).await;
    assert!(asked.into_iter().all(|found| found.unwrap().is_some()));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Who comes while it is known to hang does not wait.
    for _ in 0..20 {
        assert!(test.ask(&claims).await.unwrap().is_some());
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Whose key is not known waits for the one fetch that is under way, however many they are.
    let stranger = token(&SigningKey::generate().unwrap(), "ES256", &claims);
    let asked = futures::future::join_all((0..20).map(|_| test.ask_token(&stranger))).await;
    assert!(asked.into_iter().all(|found| found.unwrap_err().contains("no answer in time")));
    assert!(begun.elapsed() < Duration::from_secs(61), "{:?}", begun.elapsed());
    // Once it answers again, what was taken away is believed no more.
    test.site.hangs.store(false, Ordering::Relaxed);
    test.site.keys.lock().unwrap().clear();
    test.clock.0.fetch_add(1, Ordering::Relaxed);
    assert!(test.ask(&claims).await.is_err());
}

#[tokio::test]
async fn an_issuer_that_is_away_at_first_is_found_later() {
    let test = test(BY_CLAIMS);
    test.site.away.store(true, Ordering::Relaxed);
    assert!(test.ask(&claims()).await.unwrap_err().contains("connection refused"));
    test.site.away.store(false, Ordering::Relaxed);
    test.clock.0.fetch_add(1, Ordering::Relaxed);
    assert!(test.ask(&claims()).await.unwrap().is_some());
}
