//! How fast rows come, how long bounds last, what room there is, and when to stand back.

#[path = "lifecycle_forecast/breaker.rs"]
mod breaker;
#[path = "lifecycle_forecast/forecast.rs"]
mod forecast;
#[path = "lifecycle_forecast/given.rs"]
mod given;
#[path = "lifecycle_forecast/horizon.rs"]
mod horizon;
#[path = "lifecycle_forecast/patience.rs"]
mod patience;
#[path = "lifecycle_forecast/quota.rs"]
mod quota;
#[path = "lifecycle_forecast/runway.rs"]
mod runway;
#[path = "lifecycle_forecast/steady.rs"]
mod steady;
#[path = "lifecycle_forecast/velocity.rs"]
mod velocity;
