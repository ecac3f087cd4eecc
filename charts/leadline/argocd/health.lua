-- Health of a ModelDeployment for Argo CD: the value of
--   resource.customizations.health.leadline.dev_ModelDeployment
-- in the ConfigMap argocd-cm. `helm template` and `helm install` do not apply it; docs/gitops.md says how to.
--
-- A person is needed (Stalled): Degraded. Something is under way: Progressing; a pause that was asked for: Suspended.
-- A model that decayed while it serves as desired is Healthy with a message, so that it holds up no release of other objects.

local health = { status = "Progressing", message = "Waiting for the operator" }
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end

local function is(kind, wanted)
  return conditions[kind] ~= nil and conditions[kind].status == wanted
end

local function say(word, kind)
  health.status = word
  health.message = conditions[kind].reason .. ": " .. (conditions[kind].message or "")
  return health
end

if is("Stalled", "True") then
  return say("Degraded", "Stalled")
end
if is("Reconciling", "True") then
  if conditions["Reconciling"].reason == "Paused" then
    return say("Suspended", "Reconciling")
  end
  return say("Progressing", "Reconciling")
end
if is("Ready", "False") then
  if conditions["Ready"].reason == "ScaledToZero" then
    return say("Suspended", "Ready")
  end
  return say("Degraded", "Ready")
end
if not is("Ready", "True") then
  return health
end
if is("QualityOK", "False") then
  return say("Healthy", "QualityOK")
end
return say("Healthy", "Ready")
