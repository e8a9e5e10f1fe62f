//! What this build can run on.

use crate::backend::{self, Backend};
use crate::commands::table::{say, table};
use crate::error::{Error, Result};

/// Lists backends and adapters.
pub fn run(json: bool) -> Result<()> {
    use Backend::{Cuda, Flex, Metal, NdArray, Rocm, Vulkan, Wgpu};
    let adapters = backend::adapters();
    let backends = [Flex, NdArray, Wgpu, Cuda, Metal, Vulkan, Rocm];
    if json {
        let built: Vec<String> = backends.iter().filter(|b| b.is_built()).map(ToString::to_string).collect();
        let value = serde_json::json!({"backends": built, "adapters": adapters});
        let text = serde_json::to_string_pretty(&value).map_err(|e| Error::Job(e.to_string()))?;
        return say(&format!("{text}\n"));
    }
    let state = |b: &Backend| if b.is_built() { "in this build" } else { "not in this build" };
    let rows: Vec<Vec<String>> = backends.iter().map(|b| vec![b.to_string(), state(b).to_owned()]).collect();
    let mut text = table(&["backend", "state"], &rows);
    if adapters.is_empty() {
        text += "no GPU adapter found\n";
    } else {
        let rows: Vec<Vec<String>> = adapters
            .iter()
            .map(|a| {
                let buffer = format!("{:.1} GiB", a.max_buffer_bytes as f64 / (1u64 << 30) as f64);
                vec![a.index.to_string(), a.name.clone(), a.kind.into(), a.api.clone(), buffer, a.driver.clone()]
            })
            .collect();
        text += &table(&["device", "adapter", "kind", "API", "largest buffer", "driver"], &rows);
    }
    say(&text)
}
