# SPDX-License-Identifier: Apache-2.0
"""
GLSL 3.30 programs. One pass writes BGR + class id (alpha), and depth [m] + instance id.

No branches around texture fetches and no anisotropic filter: both cost several times the frame
on a software renderer. The ground takes one layer for each pixel, so its class id is exact.
"""

LIGHT = """
uniform vec3 uSun, uCam, uHaze, uSunColour, uAmbient;
uniform mat4 uShadow; uniform sampler2DShadow sShadow; uniform float uFog;
vec3 haze(vec3 d){ float s=max(dot(d,uSun),0.); s*=s; return uHaze+vec3(.10,.07,.02)*(s*s*s); }
vec3 fog(vec3 c, vec3 P){
  vec3 v=P-uCam; float r=length(v); float x=r*uFog;
  return mix(c, haze(v/r), 1.-exp(-x*sqrt(sqrt(x)))); }
float shadow(vec3 P, vec3 N){
  vec3 s=(uShadow*vec4(P+N*.06,1.)).xyz*.5+.5;
  if(any(lessThan(s,vec3(0.)))||any(greaterThan(s,vec3(1.)))) return 1.;
  return texture(sShadow, vec3(s.xy, s.z-.0012)); }
vec4 pixel(vec3 c, float id){ return vec4(sqrt(clamp(c,0.,1.)).bgr, id/255.); }
"""

HEAD = '#version 330\n'
OUTPUTS = """
layout(location=0) out vec4 oColour; layout(location=1) out vec2 oDepth;
"""

TERRAIN_VERTEX = HEAD + """
in vec3 in_pos; in vec3 in_nrm; uniform mat4 uView; uniform vec4 uZ;
out vec3 P; out vec3 N; out float Z;
void main(){ P=in_pos; N=in_nrm; Z=dot(uZ,vec4(P,1.)); gl_Position=uView*vec4(P,1.); }"""

TERRAIN_FRAGMENT = HEAD + OUTPUTS + LIGHT + """
in vec3 P; in vec3 N; in float Z;
uniform sampler2DArray sGround; uniform sampler2D sSplat, sNoise, sBake;
uniform float uSize, uTile, uFar;
void main(){
  vec2 uv=P.xy/uSize+.5; float nz=texture(sNoise,P.xy*.61).r-.5; float layer, cls; vec2 bake;
  if(uFar>.5){
    bake=vec2(max(dot(normalize(N),uSun),0.), .5*texture(sNoise,P.xy/37.).r+.31);
    layer = nz+bake.y>.55?0.:3.; cls=1.; }
  else {
    bake=texture(sBake,uv).rg; vec4 w=texture(sSplat,uv)+vec4(nz,-nz,nz*.7,-nz)*.8;
    float m=max(max(w.x,w.y),max(w.z,w.w));
    layer = w.y>=m?1.:(w.z>=m?2.:(w.x>=m?0.:3.)); cls = layer==1.?2.:(layer==2.?3.:1.); }
  vec3 c=texture(sGround,vec3(P.xy/uTile,layer),0.).rgb;
  c=c*c*(bake.y*2.)*(uSunColour*bake.x + uAmbient*(.6+.4*N.z));
  oColour=pixel(fog(c,P),cls); oDepth=vec2(Z,0.); }"""

# sun x shadow, and large patches of brightness, once for the whole world
BAKE_FRAGMENT = HEAD + LIGHT + """
in vec3 P; in vec3 N; in float Z; layout(location=0) out vec2 oBake; uniform sampler2D sNoise;
void main(){
  vec3 n=normalize(N);
  float m=.62+.5*texture(sNoise,P.xy/37.).r+.3*texture(sNoise,P.xy/7.3+.37).r;
  oBake=vec2(max(dot(n,uSun),0.)*shadow(P,n), m*.5); }"""

# i_shape = yaw, scale, stretch of the height; i_meta = class, instance, variant
OBJECT_VERTEX = HEAD + """
in vec3 in_pos; in vec3 in_nrm; in vec2 in_uv; in float in_layer;
in vec3 i_pos; in vec3 i_shape; in vec3 i_tint; in vec3 i_meta;
uniform mat4 uView; uniform vec4 uZ;
out vec3 P; out vec3 N; out vec2 UV; out float Z; flat out float L; flat out vec3 tint;
flat out vec2 ids;
void main(){
  float c=cos(i_shape.x), s=sin(i_shape.x); mat2 R=mat2(c,s,-s,c);
  P=vec3(R*in_pos.xy, in_pos.z*i_shape.z)*i_shape.y+i_pos; N=vec3(R*in_nrm.xy,in_nrm.z);
  UV=in_uv; L=in_layer+i_meta.z; tint=i_tint; ids=i_meta.xy;
  Z=dot(uZ,vec4(P,1.)); gl_Position=uView*vec4(P,1.); }"""

OBJECT_FRAGMENT = HEAD + OUTPUTS + LIGHT + """
in vec3 P; in vec3 N; in vec2 UV; in float Z; flat in float L; flat in vec3 tint; flat in vec2 ids;
uniform sampler2DArray sSurface; uniform float uCard;
void main(){
  vec4 t=texture(sSurface,vec3(UV,L),-.7);
  if(uCard>.5 && t.a<.42) discard;
  vec3 n=normalize(N); float d=dot(n,uSun);
  float lit = uCard>.5 ? clamp(d*.55+.45,0.,1.) : max(d,0.);
  float sh=mix(uCard>.5?.25:0.,1.,shadow(P,n*(uCard>.5?4.:1.)));
  vec3 c=t.rgb*t.rgb*tint*(uSunColour*lit*sh + uAmbient*(.6+.4*n.z)*(uCard>.5?.8:1.));
  oColour=pixel(fog(c,P),ids.x); oDepth=vec2(Z,ids.y); }"""

OBJECT_SHADOW_FRAGMENT = HEAD + """
in vec2 UV; flat in float L; uniform sampler2DArray sSurface; uniform float uCard;
void main(){ if(uCard>.5 && texture(sSurface,vec3(UV,L)).a<.42) discard; }"""

TERRAIN_SHADOW_VERTEX = HEAD + """
in vec3 in_pos; uniform mat4 uView; void main(){ gl_Position=uView*vec4(in_pos,1.); }"""
TERRAIN_SHADOW_FRAGMENT = HEAD + 'void main(){}'

SKY_VERTEX = HEAD + """
in vec2 in_pos; out vec2 q; void main(){ q=in_pos; gl_Position=vec4(in_pos,.999999,1.); }"""

SKY_FRAGMENT = HEAD + OUTPUTS + LIGHT + """
in vec2 q; uniform mat4 uInverse; uniform sampler2D sNoise; uniform vec3 uZenith;
uniform float uCloud;
void main(){
  vec4 a=uInverse*vec4(q,1.,1.); vec3 d=normalize(a.xyz/a.w-uCam);
  vec3 c=mix(haze(d),uZenith,1.-exp(-max(d.z,0.)*4.));
  vec2 p=d.xy/(max(d.z,-.05)+.12);
  float n=.62*texture(sNoise,p*.09).r+.38*texture(sNoise,p*.31+.3).r;
  float k=smoothstep(uCloud,uCloud+.22,n)*smoothstep(.0,.16,d.z);
  c=mix(c,vec3(.93,.92,.90)*mix(1.,.82,smoothstep(.6,.9,n)),k*.85);
  oColour=pixel(c,0.); oDepth=vec2(0.); }"""
